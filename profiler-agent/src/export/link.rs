//! One endpoint: its client, and whether it can be reached.

use super::backoff::jittered;
use super::config::{Endpoint, ExportConfig, Protocol};
use super::grpc::GrpcClient;
use super::http::HttpClient;
use super::outcome::Outcome;
use super::tls::{Stamp, TlsFiles};
use bytes::Bytes;
use http::HeaderMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// For name look-up, TCP and TLS together; at most half a request's timeout.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How we call ourselves.
pub(crate) const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
/// Bytes of foreign text that are kept.
const MAX_TEXT_BYTES: usize = 512;

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// There was no connection; nothing was sent.
    NotReached(String),
    /// Nothing was sent for a reason on our side.
    NotSent(String),
    /// The request was on its way.
    Answered(Outcome, String),
}

#[derive(Clone, Debug)]
enum Client {
    Grpc(GrpcClient),
    Http(HttpClient),
}

#[derive(Debug, Default)]
struct State {
    client: Option<(Stamp, Client)>,
    /// Failed connects since the last one that succeeded.
    failures: u32,
    /// Not to be tried before.
    closed_until: Option<Instant>,
    /// Closed for what one request finds, not for a failure.
    probing: bool,
    said_down: bool,
}

#[derive(Debug)]
pub(super) struct Link {
    endpoint: Endpoint,
    protocol: Protocol,
    tls: TlsFiles,
    timeout: Duration,
    state: Mutex<State>,
}

impl Link {
    pub(super) fn new(endpoint: Endpoint, config: &ExportConfig) -> anyhow::Result<Self> {
        let tls = TlsFiles::new(config)?;
        Ok(Self { endpoint, protocol: config.protocol, tls, timeout: config.timeout, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it may be tried again; none means now.
    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.state().closed_until.filter(|&until| until > now)
    }

    /// Whether to try now. After a failure one request goes ahead, the others wait for what it finds.
    pub(super) fn claim(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.closed_until.is_some_and(|until| until > now) {
            return false;
        }
        if state.failures > 0 {
            state.closed_until = Some(now + CONNECT_TIMEOUT);
            state.probing = true;
        }
        true
    }

    /// Sends one request.
    pub(super) async fn send(&self, body: Bytes, headers: HeaderMap) -> Attempt {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Attempt::NotSent(bounded(&format!("{error:#}"))),
        };
        let timeout = self.timeout;
        // A task of its own: a malformed answer must not take the worker down (tonic panics on a status whose
        // details are not base64). Aborted when this future is let go.
        let mut task = JoinSet::new();
        task.spawn(async move {
            let sent = async {
                match client {
                    Client::Grpc(client) => client.send(body, headers, timeout).await,
                    Client::Http(client) => client.send(body, headers).await,
                }
            };
            let slow = |_| ambiguous(format!("no answer within {} ms", timeout.as_millis()));
            tokio::time::timeout(timeout, sent).await.unwrap_or_else(slow)
        });
        let attempt = match task.join_next().await {
            Some(Ok(attempt)) => attempt,
            Some(Err(_)) | None => ambiguous("the answer made no sense".to_owned()),
        };
        self.learn(&attempt);
        attempt
    }

    fn client(&self) -> anyhow::Result<Client> {
        let stamp = self.tls.stamp();
        let mut state = self.state();
        if let Some((made, client)) = &state.client
            && *made == stamp
        {
            return Ok(client.clone());
        }
        let client = match self.protocol {
            Protocol::Grpc => Client::Grpc(GrpcClient::new(&self.endpoint, &self.tls, self.timeout)?),
            Protocol::Http => Client::Http(HttpClient::new(&self.endpoint, &self.tls, self.timeout)?),
        };
        state.client = Some((stamp, client.clone()));
        Ok(client)
    }

    fn learn(&self, attempt: &Attempt) {
        let now = Instant::now();
        let mut state = self.state();
        match attempt {
            Attempt::NotSent(_) => {}
            Attempt::NotReached(error) => {
                // Requests that failed together are one failure.
                if std::mem::take(&mut state.probing) || state.closed_until.is_none_or(|until| until <= now) {
                    state.closed_until = Some(now + jittered(state.failures));
                    state.failures = state.failures.saturating_add(1);
                }
                if !std::mem::replace(&mut state.said_down, true) {
                    tracing::warn!(endpoint = %self.endpoint, error, "endpoint not reachable, keeps trying");
                }
            }
            Attempt::Answered(outcome, _) => {
                state.failures = 0;
                state.probing = false;
                state.closed_until = None;
                if matches!(outcome, Outcome::Ambiguous { .. }) {
                    // The connection may be dead without anyone having said so: the next request gets a new one.
                    state.client = None;
                } else if std::mem::take(&mut state.said_down) {
                    tracing::info!(endpoint = %self.endpoint, "endpoint reachable again");
                }
            }
        }
    }
}

fn ambiguous(message: String) -> Attempt {
    Attempt::Answered(Outcome::Ambiguous { after: None }, message)
}

/// Text from the network, on one line and not long.
pub(crate) fn bounded(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
