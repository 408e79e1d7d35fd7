//! Sends parts to OTLP endpoints.
//!
//! Input: parts of the otlp stage, each with its samples in the ledger. Output: requests over gRPC or HTTP.
//! Invariants: [`Exporter::send`] never waits; what waits for an endpoint is in the spool, or bounded in encoded bytes,
//! and the oldest goes first; a part is sent again only when it was certainly not taken, or, counted and with the same
//! profile id, when that is unknown; every part ends in the ledger or stays in the spool, however the agent stops.

mod backlog;
mod backoff;
mod config;
mod entry;
mod grpc;
mod http;
mod link;
pub(crate) mod outcome;
mod pace;
mod probe;
mod request_headers;
mod roots;
mod seldom;
mod sender;
mod tls;

pub use config::{Auth, BadEndpoint, Endpoint, ExportConfig, Protocol};
pub(crate) use grpc::chain as error_chain;
pub(crate) use link::{USER_AGENT, bounded};
pub use probe::{Obstacle, probe};
pub(crate) use request_headers::RequestHeaders;
pub(crate) use tls::{client_tls, is_server_name};

use crate::canary::Receipt;
use crate::keeper::{Found, Kept, Spool};
use crate::otlp::Part;
use crate::spool::StoredPart;
use crate::telemetry::ledger::Pending;
use crate::telemetry::metrics::Metrics;
use entry::{Entry, encoded};
use sender::Sender;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;
pub(crate) use tonic::Code;

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

/// Keeps parts until an endpoint has taken them. Let go without [`Exporter::drain`], what it holds in memory is
/// dropped{shutdown}.
#[derive(Debug)]
pub struct Exporter {
    sender: Arc<Sender>,
    spool: Option<Spool>,
    workers: JoinSet<()>,
}

impl Exporter {
    /// Starts the workers on the current tokio runtime. No endpoint needs to be there yet.
    ///
    /// # Errors
    /// There is no endpoint, or a tenant or header cannot be sent.
    pub fn start(config: &ExportConfig, metrics: Arc<Metrics>, spool: Option<Spool>) -> anyhow::Result<Self> {
        let sender = Arc::new(Sender::new(config, metrics)?);
        let mut workers = JoinSet::new();
        for _ in 0..config.concurrency.max(1) {
            workers.spawn(Arc::clone(&sender).work());
        }
        Ok(Self { sender, spool, workers })
    }

    /// Replays what an earlier agent left in the spool.
    pub fn replay(&self, mut left: Found) {
        let Some(spool) = &self.spool else { return };
        let mut spooled = |part: &StoredPart| left.spooled.split(part.samples);
        let entry = |part| Entry::on_disk(spool, part, spooled(part), None).with_live(false);
        self.sender.push(left.parts.iter().map(entry).collect());
    }

    /// From the next try on, parts go where this says.
    ///
    /// # Errors
    /// There is no endpoint, or a tenant or header cannot be sent: everything stays as it is.
    pub fn redirect(&self, config: &ExportConfig) -> anyhow::Result<()> {
        self.sender.redirect(config)
    }

    /// Takes the parts of a window over, into the spool if there is one; returns at once. The receipt tells the canary
    /// when endpoints have taken all of them.
    pub fn send(&self, parts: Vec<(Part, Pending)>, receipt: Option<Receipt>) {
        let entry = |(part, pending): (Part, Pending)| Entry::in_memory(encoded(&part), pending, receipt.clone());
        let entries = parts.into_iter().map(entry).collect();
        // Each part has its own; this one must not count as a part that is missing.
        receipt.into_iter().for_each(Receipt::accepted);
        match &self.spool {
            Some(spool) => {
                if spool.works() {
                    self.spool_memory(spool, || {});
                }
                self.offer(spool, entries, true, || {});
            }
            None => self.sender.push(entries),
        }
    }

    /// What the spool refused earlier: its disk may work again.
    fn spool_memory(&self, spool: &Spool, done: impl FnOnce() + Send + 'static) {
        let waiting = self.sender.take_memory();
        self.offer(spool, waiting, false, done);
    }

    /// Hands parts in memory to the spool, and takes in what became of them; then `done` is called.
    fn offer(&self, spool: &Spool, entries: Vec<Entry>, live: bool, done: impl FnOnce() + Send + 'static) {
        let (mut parts, mut receipts) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        for (part, pending, receipt) in entries.into_iter().filter_map(Entry::into_memory) {
            parts.push((part, pending));
            receipts.push(receipt);
        }
        if parts.is_empty() {
            return done();
        }
        let (sender, own) = (Arc::clone(&self.sender), spool.clone());
        spool.append(parts, move |spooling| {
            let entries = spooling.parts.into_iter().zip(receipts).map(|(kept, receipt)| match kept {
                Kept::Disk(part, spooled) => Entry::on_disk(&own, &part, spooled, receipt),
                Kept::Memory(part, pending) => Entry::in_memory(part, pending, receipt),
            });
            sender.push(entries.map(|entry| entry.with_live(live)).collect());
            sender.evicted(&spooling.evicted);
            done();
        });
    }

    /// How exporting goes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.sender.status()
    }

    /// Tries what is left once more, but for the backlog in the spool; what is not accepted then, or not before
    /// `deadline`, stays in the spool or is dropped{shutdown}.
    pub async fn drain(mut self, deadline: Instant) {
        if let Some(spool) = &self.spool {
            let (done, is_done) = tokio::sync::oneshot::channel();
            self.spool_memory(spool, || {
                // Whoever waits may have given up.
                let _ = done.send(());
            });
            let _ = tokio::time::timeout_at(deadline.into(), is_done).await;
        }
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
