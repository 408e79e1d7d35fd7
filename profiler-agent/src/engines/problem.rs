//! Why an engine does not tell, in sentences.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// What the engine, or the way to it, said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// There is no such socket.
    Absent,
    /// The agent's user may not use the socket.
    Forbidden,
    /// Nobody listens, or the connection broke.
    Unreachable(String),
    /// No answer in time.
    Late(Duration),
    /// Another answer than wanted.
    Refused(String),
    /// An answer that is longer than one is read.
    TooLarge,
    /// An answer that is no list of containers.
    Malformed(String),
}

impl Problem {
    pub(super) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Absent,
            ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Unreachable(error.to_string()),
        }
    }

    pub(super) fn of_http(error: &hyper::Error) -> Self {
        match error.is_parse() || error.is_parse_too_large() {
            true => Self::Malformed(error.to_string()),
            false => Self::Unreachable(error.to_string()),
        }
    }

    /// For metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Forbidden => "forbidden",
            Self::Unreachable(_) => "unreachable",
            Self::Late(_) => "late",
            Self::Refused(_) => "refused",
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
        }
    }

    /// One sentence.
    pub(crate) fn say(&self, socket: &Path) -> String {
        let socket = socket.display();
        match self {
            Self::Absent => format!("{socket} is not there"),
            Self::Forbidden => format!("{socket} is not for the agent's user"),
            Self::Unreachable(error) => format!("the engine at {socket} cannot be reached ({error})"),
            Self::Late(patience) => format!("the engine at {socket} does not answer within {} s", patience.as_secs()),
            Self::Refused(answer) => format!("the engine at {socket} does not answer with containers ({answer})"),
            Self::TooLarge => format!("the engine at {socket} answers with more than is read"),
            Self::Malformed(error) => format!("the engine at {socket} answers with something else ({error})"),
        }
    }

    /// What mends it.
    pub(crate) fn fix(&self) -> &'static str {
        match self {
            Self::Absent | Self::Unreachable(_) => {
                "start the engine (systemctl start docker.socket or podman.socket), or --container-sockets off"
            }
            Self::Forbidden => {
                "run the agent as root, or give it the socket's group (SupplementaryGroups=docker in its unit), whose \
                 members can become root, or --container-sockets off"
            }
            Self::Late(_) | Self::Refused(_) | Self::TooLarge | Self::Malformed(_) => {
                "see the engine's log, or --container-sockets off"
            }
        }
    }
}
