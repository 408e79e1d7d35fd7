//! The page at `--listen`: HTTP requests in; the last hour as a page, JSON, pprof and collapsed stacks out, and
//! metrics, health and readiness.
//!
//! Invariants: only GET and HEAD; nothing a client does costs more than a bounded number of connections, of bytes
//! and of seconds; profile data leaves only under an allowed Host and, off loopback, with the token; the page loads
//! nothing from elsewhere and never reads a name from a profile as markup.

mod access;
mod answer;
mod assets;
pub mod flame;
mod json;
mod routes;
mod selection;
mod server;
pub mod services;

pub use crate::aggregate::merge::Selection;
pub use access::Access;
pub use selection::Span;
pub use server::serve;

use crate::history::History;
use crate::profile::Profile;
use crate::telemetry::ledger::Ledger;
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests that unpack history at the same time.
const MAX_QUERIES: usize = 2;

/// `Ok` while samples flow and exports are accepted, else the reason why not.
pub type Readiness = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Merges the selected samples of profiles, oldest first, and encodes them for a download.
pub type Encode = Box<dyn Fn(&mut dyn Iterator<Item = Profile>, &Selection) -> anyhow::Result<Vec<u8>> + Send + Sync>;

/// Encoders of the downloads.
pub struct Downloads {
    /// Gzip-compressed pprof.
    pub pprof: Encode,
    /// Collapsed stacks.
    pub folded: Encode,
}

impl std::fmt::Debug for Downloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Downloads")
    }
}

/// What the page says of the agent.
#[derive(Clone, Debug, Default)]
pub struct Title {
    /// Host name.
    pub host: String,
    /// Version of the agent.
    pub version: String,
    /// Samples per second and CPU.
    pub frequency_hz: u64,
    /// Length of a window in milliseconds.
    pub interval_ms: u64,
    /// Start of the first window in Unix milliseconds.
    pub started_unix_ms: u64,
    /// Online CPUs.
    pub cpus: u32,
}

/// Everything requests are answered from.
pub struct PageState {
    /// The last hour.
    pub history: Arc<History>,
    /// For `/metrics` and the page's foot.
    pub ledger: Arc<Ledger>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/download.*`.
    pub downloads: Downloads,
    /// For the page's head.
    pub title: Title,
    /// Who may see what.
    pub access: Access,
    queries: Semaphore,
}

impl std::fmt::Debug for PageState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageState").field("title", &self.title).field("history", &self.history).finish_non_exhaustive()
    }
}

impl PageState {
    /// Brings the parts together.
    #[must_use]
    pub fn new(
        history: Arc<History>,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
        readiness: Readiness,
        downloads: Downloads,
        title: Title,
        access: Access,
    ) -> Self {
        Self { history, ledger, metrics, readiness, downloads, title, access, queries: Semaphore::new(MAX_QUERIES) }
    }
}

#[cfg(test)]
mod tests;
