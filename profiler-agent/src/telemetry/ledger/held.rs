//! Who holds samples between the ring buffer and their end.

use super::{DropReason, Ledger, State};
use std::sync::Arc;

/// Samples in the agent's hands, on their way to an end that is counted.
#[must_use = "samples let go without an end are missing from the ledger"]
pub struct Pending {
    ledger: Arc<Ledger>,
    count: u64,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pending").field(&self.count).finish()
    }
}

impl Pending {
    /// Stands for samples that are counted as pending.
    pub(super) fn new(ledger: &Arc<Ledger>, count: u64) -> Self {
        Self { ledger: Arc::clone(ledger), count }
    }

    /// How many samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes the other's samples in.
    pub fn merge(&mut self, mut other: Self) {
        self.count += std::mem::take(&mut other.count);
    }

    /// Hands `count` samples, at most all, to a new owner.
    pub fn split(&mut self, count: u64) -> Self {
        let count = count.min(self.count);
        self.count -= count;
        Self { ledger: Arc::clone(&self.ledger), count }
    }

    /// A stage says how many samples it really holds. Should that differ, the ledger stops balancing.
    pub fn recount(&mut self, actual: u64) {
        let mut state = self.ledger.lock();
        state.pending = (state.pending + actual).saturating_sub(self.count);
        self.count = actual;
    }

    /// All of these reached their destination.
    pub fn exported(mut self) {
        let count = std::mem::take(&mut self.count);
        let mut state = self.ledger.lock();
        state.pending = state.pending.saturating_sub(count);
        state.exported += count;
    }

    /// All of these are lost, for this reason.
    pub fn dropped(mut self, reason: DropReason) {
        let count = std::mem::take(&mut self.count);
        let mut state = self.ledger.lock();
        state.pending = state.pending.saturating_sub(count);
        state.dropped[reason as usize] += count;
    }

    /// All of these are on disk.
    pub fn spooled(mut self) -> Spooled {
        let count = std::mem::take(&mut self.count);
        let mut state = self.ledger.lock();
        state.pending = state.pending.saturating_sub(count);
        state.spooled += count;
        drop(state);
        Spooled { ledger: Arc::clone(&self.ledger), count }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.count > 0 {
            let mut state = self.ledger.lock();
            state.pending = state.pending.saturating_sub(self.count);
        }
    }
}

/// Samples on disk. Let go without an end, they stay there: for the next agent.
#[derive(Debug)]
#[must_use = "samples on disk come to an end, or stay for the next agent"]
pub struct Spooled {
    ledger: Arc<Ledger>,
    count: u64,
}

impl Spooled {
    /// Stands for samples that are counted as spooled.
    pub(super) fn new(ledger: &Arc<Ledger>, count: u64) -> Self {
        Self { ledger: Arc::clone(ledger), count }
    }

    /// How many samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Hands `count` samples, at most all, to a new owner.
    pub fn split(&mut self, count: u64) -> Self {
        let count = count.min(self.count);
        self.count -= count;
        Self { ledger: Arc::clone(&self.ledger), count }
    }

    fn leave(&self, to: impl FnOnce(&mut State, u64)) {
        let mut state = self.ledger.lock();
        state.spooled = state.spooled.saturating_sub(self.count);
        to(&mut state, self.count);
    }

    /// All of these reached their destination.
    pub fn exported(self) {
        self.leave(|state, count| state.exported += count);
    }

    /// All of these are lost, for this reason.
    pub fn dropped(self, reason: DropReason) {
        self.leave(|state, count| state.dropped[reason as usize] += count);
    }

    /// All of these are on their way again, and no longer on disk.
    pub fn pending(self) -> Pending {
        self.leave(|state, count| state.pending += count);
        Pending { ledger: self.ledger, count: self.count }
    }
}
