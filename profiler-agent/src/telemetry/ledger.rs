//! The ledger: where every sample went.
//!
//! `taken = exported + spooled + pending + sum(dropped)`, no term computed from the others:
//! - taken is the sum of the kernel program's outcome counters;
//! - pending is what lies in the ring buffer (by the records' own sequence numbers) and what the stages hold,
//!   each stage counting its real contents ([`Pending::recount`]);
//! - exported, spooled and dropped are counted where a sample ends.
//!
//! Samples inside the agent travel with a [`Pending`], those on disk are held by a [`Spooled`]. A `Pending` that is let
//! go without saying where its samples went leaves the balance short, which is what the tests look for.
//!
//! With a spool the ledger goes on where the agent before it ended ([`Ledger::restore`]): what was pending then is
//! dropped{killed}.

use profiler_common::outcome::Outcome;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a sample was lost after the kernel program had submitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The record made no sense.
    Malformed,
    /// The processing stage lags and its queue is full.
    QueueFull,
    /// The window holds as many distinct stacks as it may.
    WindowFull,
    /// The export backlog is full; the oldest goes first.
    BacklogFull,
    /// The server took the request and rejected the samples (`partial_success`).
    Rejected,
    /// The server refused the request for good.
    Refused,
    /// Could not be sent before the agent had to stop.
    Shutdown,
    /// The output could not be written.
    NotWritten,
    /// Older than Pyroscope takes.
    TooOld,
    /// The spool is full; the oldest goes first.
    SpoolFull,
    /// The spool's file was damaged or is gone.
    SpoolLost,
    /// In the agent's hands when it was killed.
    Killed,
    /// A relabel rule says so.
    Relabel,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::QueueFull,
        Self::WindowFull,
        Self::BacklogFull,
        Self::Rejected,
        Self::Refused,
        Self::Shutdown,
        Self::NotWritten,
        Self::TooOld,
        Self::SpoolFull,
        Self::SpoolLost,
        Self::Killed,
        Self::Relabel,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::QueueFull => "queue_full",
            Self::WindowFull => "window_full",
            Self::BacklogFull => "backlog_full",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::NotWritten => "not_written",
            Self::TooOld => "too_old",
            Self::SpoolFull => "spool_full",
            Self::SpoolLost => "spool_lost",
            Self::Killed => "killed",
            Self::Relabel => "relabel",
        }
    }
}

/// The kernel program's counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Firings on an allowed task, counted at entry.
    pub entered: u64,
    /// By [`Outcome`], summed over CPUs.
    pub outcomes: [u64; Outcome::COUNT],
    /// Records submitted, by CPU.
    pub submitted: Vec<u64>,
}

/// Where the kernel program's counters are read.
pub trait KernelCounters: Send + Sync {
    /// All counters in one pass.
    fn read(&self) -> KernelCounts;
}

#[derive(Default)]
struct State {
    kernel: Option<Box<dyn KernelCounters>>,
    /// Of kernel programs that have ended.
    ended: KernelCounts,
    /// By CPU, the sequence number of the last record received.
    received: Vec<u64>,
    pending: u64,
    exported: u64,
    spooled: u64,
    dropped: [u64; DropReason::ALL.len()],
    before: Before,
}

/// What agents before this one counted. Their exported, spooled and dropped samples are in this one's terms, but for
/// reasons that only they or the kernel know.
#[derive(Default)]
struct Before {
    taken: u64,
    entered: u64,
    dropped: BTreeMap<String, u64>,
}

impl State {
    fn counts(&self) -> KernelCounts {
        self.kernel.as_ref().map(|kernel| kernel.read()).unwrap_or_default()
    }
}

/// The ledger of one agent.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    /// Sets where the kernel's counters are read. Those read before have ended, and all their records were received:
    /// what they counted stays.
    pub fn set_kernel(&self, kernel: Box<dyn KernelCounters>) {
        let mut state = self.lock();
        let last = state.counts();
        state.ended.entered += last.entered;
        state.ended.outcomes.iter_mut().zip(last.outcomes).for_each(|(sum, count)| *sum += count);
        state.received.clear();
        state.kernel = Some(kernel);
    }

    /// Goes on where an earlier agent's ledger ended. Of what it held then, `found` samples turned out to be in the
    /// spool; the others are dropped{killed}. Of what it had in the spool, what is not there any more is
    /// dropped{spool_lost}. `spooled` are all samples in the spool now; a [`Spooled`] stands for them.
    pub fn restore(self: &Arc<Self>, last: &Snapshot, found: u64, spooled: u64) -> Spooled {
        let mut state = self.lock();
        state.before.taken += last.taken;
        state.before.entered += last.entered;
        state.exported += last.exported;
        state.spooled += spooled;
        state.dropped[DropReason::Killed as usize] += last.pending.saturating_sub(found);
        state.dropped[DropReason::SpoolLost as usize] += last.spooled.saturating_sub(spooled.saturating_sub(found));
        for (label, count) in &last.dropped {
            match DropReason::ALL.into_iter().find(|reason| reason.label() == label) {
                Some(reason) => state.dropped[reason as usize] += count,
                None => *state.before.dropped.entry(label.clone().into_owned()).or_default() += count,
            }
        }
        Spooled { ledger: Arc::clone(self), count: spooled }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records up to `sequences` (by CPU) left the ring buffer; `count` samples are now in the agent's hands.
    pub fn receive(self: &Arc<Self>, sequences: &[(u32, u64)], count: u64) -> Pending {
        let mut state = self.lock();
        for &(cpu, sequence) in sequences {
            let cpu = cpu as usize;
            if state.received.len() <= cpu {
                state.received.resize(cpu + 1, 0);
            }
            state.received[cpu] = state.received[cpu].max(sequence);
        }
        state.pending += count;
        Pending { ledger: Arc::clone(self), count }
    }

    /// All terms at one moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        // A record can be visible an instant before its counter is; the counter follows within nanoseconds.
        let mut kernel = state.counts();
        for _ in 0..1000 {
            if covers(&kernel.submitted, &state.received) {
                break;
            }
            std::thread::yield_now();
            kernel = state.counts();
        }
        let in_ring: u64 = kernel
            .submitted
            .iter()
            .enumerate()
            .map(|(cpu, &submitted)| submitted.saturating_sub(state.received.get(cpu).copied().unwrap_or(0)))
            .sum();
        let outcomes = kernel.outcomes.iter().zip(state.ended.outcomes).map(|(now, ended)| now + ended);
        let outcomes: Vec<u64> = outcomes.collect();
        let mut before = state.before.dropped.clone();
        let mut dropped: Vec<(Cow<'static, str>, u64)> = Vec::new();
        for &outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Submitted) {
            let label = outcome.label();
            dropped.push((label.into(), outcomes[outcome as usize] + before.remove(label).unwrap_or(0)));
        }
        dropped.extend(DropReason::ALL.map(|reason| (reason.label().into(), state.dropped[reason as usize])));
        dropped.extend(before.into_iter().map(|(label, count)| (label.into(), count)));
        Snapshot {
            taken: state.before.taken + outcomes.iter().sum::<u64>(),
            entered: state.before.entered + state.ended.entered + kernel.entered,
            exported: state.exported,
            spooled: state.spooled,
            pending: in_ring + state.pending,
            dropped,
        }
    }
}

fn covers(submitted: &[u64], received: &[u64]) -> bool {
    received.iter().enumerate().all(|(cpu, &sequence)| submitted.get(cpu).copied().unwrap_or(0) >= sequence)
}

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
}

impl Pending {
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

/// Samples on disk. Let go without an end, they stay there: for the next agent.
#[derive(Debug)]
#[must_use = "samples on disk come to an end, or stay for the next agent"]
pub struct Spooled {
    ledger: Arc<Ledger>,
    count: u64,
}

impl Spooled {
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

impl Drop for Pending {
    fn drop(&mut self) {
        if self.count > 0 {
            let mut state = self.ledger.lock();
            state.pending = state.pending.saturating_sub(self.count);
        }
    }
}

/// All terms of the ledger at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Samples taken by the kernel program.
    pub taken: u64,
    /// Entries counted by the kernel program; equals `taken` at rest.
    pub entered: u64,
    /// Samples at their destination.
    pub exported: u64,
    /// Samples on disk.
    pub spooled: u64,
    /// Samples on their way.
    pub pending: u64,
    /// Samples lost, by reason; every reason is there.
    pub dropped: Vec<(Cow<'static, str>, u64)>,
}

impl Snapshot {
    /// Samples lost for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Samples lost for this reason.
    #[must_use]
    pub fn dropped_for(&self, reason: &str) -> u64 {
        self.dropped.iter().find(|(found, _)| found == reason).map_or(0, |(_, count)| *count)
    }

    /// Whether the equation holds.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.taken == self.exported + self.spooled + self.pending + self.dropped_total()
    }
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} samples taken = {} exported + {} spooled + {} pending + {} dropped",
            self.taken,
            self.exported,
            self.spooled,
            self.pending,
            self.dropped_total()
        )?;
        for (reason, count) in self.dropped.iter().filter(|(_, count)| *count > 0) {
            write!(f, " ({count} {reason})")?;
        }
        if !self.balances() {
            f.write_str(" [does not balance]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(KernelCounts);
    impl KernelCounters for Fixed {
        fn read(&self) -> KernelCounts {
            self.0.clone()
        }
    }

    fn ledger() -> Arc<Ledger> {
        let ledger = Arc::new(Ledger::default());
        let counts = KernelCounts { entered: 12, outcomes: [10, 2, 0], submitted: vec![6, 4] };
        ledger.set_kernel(Box::new(Fixed(counts)));
        ledger
    }

    #[test]
    fn balances_at_every_step() {
        let ledger = ledger();
        assert!(ledger.snapshot().balances());
        let mut pending = ledger.receive(&[(0, 6), (1, 3)], 9);
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.taken, snapshot.pending), (12, 10));
        assert!(snapshot.balances());
        pending.split(4).dropped(DropReason::Rejected);
        assert!(ledger.snapshot().balances());
        pending.exported();
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.exported, snapshot.pending, snapshot.dropped_total()), (5, 1, 6));
        assert!(snapshot.balances());
    }

    #[test]
    fn a_sample_let_go_without_an_end_unbalances() {
        let ledger = ledger();
        let mut pending = ledger.receive(&[(0, 6), (1, 4)], 10);
        drop(pending.split(1));
        assert!(!ledger.snapshot().balances());
        pending.exported();
        assert!(!ledger.snapshot().balances());
    }

    #[test]
    fn a_stage_that_holds_fewer_than_it_got_unbalances() {
        let ledger = ledger();
        let mut pending = ledger.receive(&[(0, 6), (1, 4)], 10);
        pending.recount(9);
        assert!(!ledger.snapshot().balances());
        pending.exported();
    }

    #[test]
    fn goes_on_where_an_earlier_agent_was_killed() {
        let last = Snapshot {
            taken: 100,
            entered: 100,
            exported: 40,
            spooled: 30,
            pending: 20,
            dropped: vec![("ring_full".into(), 3), ("refused".into(), 5), ("of_another_release".into(), 2)],
        };
        assert!(last.balances());
        // Of the 20 pending ones a window of 12 came to disk; of the 30 on disk 4 are gone.
        let ledger = Arc::new(Ledger::default());
        let mut spooled = ledger.restore(&last, 12, 38);
        ledger.set_kernel(Box::new(Fixed(KernelCounts { entered: 12, outcomes: [10, 2, 0], submitted: vec![6, 4] })));
        let snapshot = ledger.snapshot();
        assert!(snapshot.balances(), "{snapshot}");
        let count = Snapshot::dropped_for;
        assert_eq!((snapshot.taken, snapshot.exported, snapshot.spooled, snapshot.pending), (112, 40, 38, 10));
        assert_eq!((count(&snapshot, "killed"), count(&snapshot, "spool_lost")), (8, 4));
        assert_eq!((count(&snapshot, "ring_full"), count(&snapshot, "refused")), (5, 5));
        assert_eq!(count(&snapshot, "of_another_release"), 2);
        spooled.split(8).exported();
        spooled.split(10).dropped(DropReason::TooOld);
        spooled.split(5).pending().dropped(DropReason::Refused);
        let snapshot = ledger.snapshot();
        assert!(snapshot.balances(), "{snapshot}");
        assert_eq!((snapshot.exported, snapshot.spooled), (48, 15));
    }

    #[test]
    fn kernel_programs_that_ended_stay_counted() {
        let ledger = ledger();
        ledger.receive(&[(0, 6), (1, 4)], 10).exported();
        ledger.set_kernel(Box::new(Fixed(KernelCounts { entered: 3, outcomes: [2, 1, 0], submitted: vec![2, 0] })));
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.taken, snapshot.entered, snapshot.pending), (15, 15, 2));
        assert!(snapshot.balances(), "{snapshot}");
    }
}
