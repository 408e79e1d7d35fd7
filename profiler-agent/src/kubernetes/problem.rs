//! Why a watch fails, in sentences.

use kube::runtime::watcher::Error;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Pods of this node.
    Pods,
    /// All namespaces.
    Namespaces,
}

impl Resource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
        }
    }

    /// What is missing without it.
    fn loss(self) -> &'static str {
        match self {
            Self::Pods => "containers are named by their ids",
            Self::Namespaces => "annotations of namespaces are not seen",
        }
    }
}

/// What the API server, or the way to it, said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// 403, with what it said.
    Forbidden(String),
    /// 401.
    Unauthorized,
    /// What was seen last is too long ago.
    Expired,
    /// Another answer than wanted.
    Refused(String),
    /// No answer.
    Unreachable(String),
}

impl Problem {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::WatchError(status) => Self::of_status(status),
            Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
                Self::of_client(error)
            }
            Error::NoResourceVersion => Self::Refused(error.to_string()),
        }
    }

    pub(crate) fn of_client(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Refused(error.to_string()),
            error => Self::Unreachable(chain(error)),
        }
    }

    fn of_status(status: &kube::core::Status) -> Self {
        match status.code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(status.message.clone()),
            410 => Self::Expired,
            code => Self::Refused(format!("{code}: {}", status.message)),
        }
    }

    /// For metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Expired => "expired",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// One sentence, with what it costs.
    pub(crate) fn say(&self, resource: Resource, url: &str) -> String {
        let (name, loss) = (resource.name(), resource.loss());
        match self {
            Self::Forbidden(message) => {
                format!("the API server does not let the agent list and watch {name} (403: {message}): {loss}")
            }
            Self::Unauthorized => format!("the API server does not accept the agent's token (401): {loss}"),
            Self::Expired => format!("the version of {name} seen last is too old (410)"),
            Self::Refused(answer) => format!("the API server does not answer with {name} ({answer}): {loss}"),
            Self::Unreachable(error) => format!("the API server at {url} cannot be reached ({error}): {loss}"),
        }
    }

    /// What mends it.
    pub(crate) fn fix(&self, resource: Resource) -> &'static str {
        match (self, resource) {
            (Self::Forbidden(_), Resource::Pods) => {
                "grant get, list and watch of pods to the agent's service account by a ClusterRole and its binding"
            }
            (Self::Forbidden(_), Resource::Namespaces) => {
                "grant get, list and watch of namespaces to the agent's service account by a ClusterRole and its binding"
            }
            (Self::Unauthorized, _) => "mount a token of the agent's service account that the API server issued",
            (Self::Unreachable(_), _) => "let the agent's pod reach the API server: NetworkPolicy, firewall, proxy",
            (Self::Refused(_) | Self::Expired, _) => "see the log of the API server",
        }
    }
}

/// An error with what is behind it, once each.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(error) = next {
        let further = error.to_string();
        if !text.contains(&further) {
            text += &format!(": {further}");
        }
        next = error.source();
    }
    text
}
