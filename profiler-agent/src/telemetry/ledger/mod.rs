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

mod held;
mod reason;
mod snapshot;

pub use held::{Pending, Spooled};
pub use reason::DropReason;
pub use snapshot::Snapshot;

use profiler_common::outcome::Outcome;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
        Spooled::new(self, spooled)
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
        Pending::new(self, count)
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

#[cfg(test)]
mod tests;
