//! Sends parts to OTLP endpoints.
//!
//! Input: parts of the otlp stage, each with its samples in the ledger. Output: requests over gRPC or HTTP.
//! Invariants: [`Exporter::send`] never waits; what waits for an endpoint is bounded in encoded bytes and the oldest
//! goes first; a part is sent again only when it was certainly not taken, or, counted and with the same profile id,
//! when that is unknown; every part ends in the ledger, however the agent stops.

mod backlog;
mod backoff;
mod config;
mod grpc;
mod http;
mod link;
mod outcome;
mod request_headers;
mod seldom;
mod sender;
mod tls;

pub use config::{Auth, BadEndpoint, Endpoint, ExportConfig, Protocol};
pub(crate) use tls::client_tls;

use crate::otlp::Part;
use crate::telemetry::ledger::Pending;
use crate::telemetry::metrics::Metrics;
use sender::Sender;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// How exporting goes: for `/readyz`.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// When an endpoint last accepted a part.
    pub last_accepted: Option<Instant>,
    /// Why the last part that was not accepted was not; none once one is accepted.
    pub last_error: Option<String>,
    /// Parts that wait or are on their way.
    pub backlog_parts: usize,
    /// Their encoded bytes.
    pub backlog_bytes: usize,
}

/// Keeps parts until an endpoint has taken them. Let go without [`Exporter::drain`], what it holds is
/// dropped{shutdown}.
#[derive(Debug)]
pub struct Exporter {
    sender: Arc<Sender>,
    workers: JoinSet<()>,
}

impl Exporter {
    /// Starts the workers on the current tokio runtime. No endpoint needs to be there yet.
    ///
    /// # Errors
    /// There is no endpoint, or a tenant or header cannot be sent.
    pub fn start(config: ExportConfig, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let concurrency = config.concurrency.max(1);
        let sender = Arc::new(Sender::new(config, metrics)?);
        let mut workers = JoinSet::new();
        for _ in 0..concurrency {
            workers.spawn(Arc::clone(&sender).work());
        }
        Ok(Self { sender, workers })
    }

    /// Takes parts over; returns at once.
    pub fn send(&self, parts: Vec<(Part, Pending)>) {
        self.sender.push(parts);
    }

    /// How exporting goes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.sender.status()
    }

    /// Tries what is left once more; what is not accepted then, or not before `deadline`, is dropped{shutdown}.
    pub async fn drain(mut self, deadline: Instant) {
        self.sender.close();
        let workers = async { while self.workers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout_at(deadline.into(), workers).await;
        // Parts on their way end with their workers, the others with the backlog.
        self.workers.shutdown().await;
        self.sender.give_up();
    }
}

#[cfg(test)]
mod tests;
