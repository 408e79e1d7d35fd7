//! Asks the server for what it was sent: an export can be accepted and be nowhere.
//!
//! Input: windows that were exported as a whole, each with its value. Output: a count of outcomes, and whether the server
//! can be read, for `/readyz`. Invariants: nobody waits for the canary; it asks one question at a time; of windows that
//! came meanwhile the newest is looked at. What the server answers is foreign: bounded in time and bytes.

pub(crate) mod answer;
mod config;
mod query;
mod receipt;
mod verdict;

#[cfg(test)]
mod tests;

pub use config::CanaryConfig;
pub use receipt::Receipt;
pub use verdict::Outcome;

use crate::profile::Profile;
use crate::telemetry::metrics::{Metric, Metrics};
use query::Query;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use verdict::Row;

/// Times that a window is asked for before it counts as less or unreadable; servers show what they took a little later.
const TRIES: u32 = 4;
/// Between two tries at most; else one interval.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// A window as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Start in Unix nanoseconds: the time of its profiles.
    pub start_unix_ns: u64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// CPU time in nanoseconds: samples times period.
    pub value_ns: u64,
    /// Labels of all its series, keys with dots or underscores.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

impl Sent {
    /// What `profile` amounts to. `labels` are those that all of its series have.
    #[must_use]
    pub fn new(profile: &Profile, labels: Vec<(Arc<str>, Arc<str>)>) -> Self {
        Self {
            start_unix_ns: profile.start_unix_ns,
            duration_ns: profile.duration_ns,
            value_ns: profile.sample_count().saturating_mul(profile.period_ns.max(1)),
            labels,
        }
    }
}

/// Checks windows in the background, until the last clone is let go.
#[derive(Clone, Debug)]
pub struct Canary {
    newest: watch::Sender<Option<Sent>>,
    row: Arc<Mutex<Row>>,
}

impl Canary {
    /// Starts on the current tokio runtime. No server needs to be there yet. `interval` is the length of a window.
    ///
    /// # Errors
    /// The tenant cannot be sent.
    pub fn start(config: &CanaryConfig, interval: Duration, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let (newest, windows) = watch::channel(None);
        let row = Arc::<Mutex<Row>>::default();
        let watcher = Watcher { query: Query::new(config)?, pause: interval.min(MAX_PAUSE), row: Arc::clone(&row) };
        tokio::spawn(watcher.watch(windows, metrics));
        Ok(Self { newest, row })
    }

    /// Says that the server took a window. Never waits.
    pub fn sent(&self, window: Sent) {
        if window.value_ns > 0 {
            self.newest.send_replace(Some(window));
        }
    }

    /// For the parts of a window: once all of them were accepted, the window was sent.
    #[must_use]
    pub fn receipt(&self, window: Sent) -> Receipt {
        Receipt::new(self.clone(), window)
    }

    /// Why the agent is not ready, if it is not.
    ///
    /// # Errors
    /// The last windows could not be read back, and why.
    pub fn readiness(&self) -> Result<(), String> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner).readiness()
    }
}

struct Watcher {
    query: Query,
    pause: Duration,
    row: Arc<Mutex<Row>>,
}

impl Watcher {
    async fn watch(self, mut windows: watch::Receiver<Option<Sent>>, metrics: Arc<Metrics>) {
        while windows.changed().await.is_ok() {
            let window = windows.borrow_and_update().clone();
            if let Some(window) = window {
                let (outcome, reason) = self.check(&window).await;
                metrics.add(Metric::CanaryChecks, outcome.label(), 1);
                self.row.lock().unwrap_or_else(PoisonError::into_inner).note(outcome, reason);
            }
        }
    }

    /// What the server has, once it is no longer less; and why that is not what was sent.
    async fn check(&self, window: &Sent) -> (Outcome, String) {
        let mut tries = 1;
        loop {
            let (outcome, reason) = verdict::judge(window.value_ns, self.query.ask(window).await);
            if tries == TRIES || matches!(outcome, Outcome::Equal | Outcome::More) {
                return (outcome, reason);
            }
            tries += 1;
            tokio::time::sleep(self.pause).await;
        }
    }
}
