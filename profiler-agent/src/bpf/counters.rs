//! The kernel program's counters.

use crate::telemetry::ledger::{KernelCounters, KernelCounts};
use aya::maps::{MapData, PerCpuArray};
use profiler_common::outcome::{Outcome, counter};

/// Slots of one CPU.
pub(super) type Slots = [u64; counter::COUNT as usize];

/// Reads the counter map.
pub struct Counters(PerCpuArray<MapData, Slots>);

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, Slots>) -> Self {
        Self(map)
    }

    fn slots(&self) -> Vec<Slots> {
        self.0.get(&0, 0).map(|values| values.to_vec()).unwrap_or_default()
    }

    /// Nanoseconds spent in the programs.
    #[must_use]
    pub fn run_ns(&self) -> u64 {
        self.sum(counter::RUN_NS) + self.sum(counter::EVENT_RUN_NS)
    }

    /// Process events that were not reported.
    #[must_use]
    pub fn events_shed(&self) -> u64 {
        self.sum(counter::EVENTS_SHED)
    }

    /// Processes that found no room in the pid filter.
    #[must_use]
    pub fn filter_full(&self) -> u64 {
        self.sum(counter::FILTER_FULL)
    }

    /// Process events that found no room.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.sum(counter::EVENTS_LOST)
    }

    fn sum(&self, slot: u32) -> u64 {
        self.slots().iter().map(|slots| slots[slot as usize]).sum()
    }
}

impl KernelCounters for std::sync::Arc<Counters> {
    fn read(&self) -> KernelCounts {
        let slots = self.slots();
        let at = |slots: &Slots, outcome: Outcome| slots[(counter::OUTCOMES + outcome as u32) as usize];
        let mut outcomes = [0; Outcome::COUNT];
        for &outcome in Outcome::ALL {
            outcomes[outcome as usize] = slots.iter().map(|slots| at(slots, outcome)).sum();
        }
        KernelCounts {
            entered: slots.iter().map(|slots| slots[counter::ENTERED as usize]).sum(),
            outcomes,
            submitted: slots.iter().map(|slots| at(slots, Outcome::Submitted)).collect(),
        }
    }
}
