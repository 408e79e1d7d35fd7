//! When the mappings of a process are read from `/proc`.

use super::{MAX_PROCESSES, Process, ProcessKey, ProcessTable};
use crate::bpf::monotonic_ns;
use std::sync::Arc;

/// Shortest time between two looks at the mappings of a process; doubled each time.
const RELOAD_NS: u64 = 100_000_000;
/// Most doublings: about a minute.
const MAX_RELOAD_DOUBLINGS: u32 = 9;
/// How long a process rests after a look at its mappings, before a loss leads to the next: in times of what it took.
const LOSS_REST: u64 = 16;

impl ProcessTable {
    /// The first look at a process: its mappings from events, from `/proc`, or from its nearest living relative when it
    /// is gone before its own mappings were ever seen. What `/proc` shows may be the next executable already.
    pub(super) fn look(&mut self, key: ProcessKey, time_ns: u64) {
        if self.processes.len() >= MAX_PROCESSES {
            self.make_room();
        }
        let lost_ns = self.lost_ns.max(self.unsampled_lost_ns);
        let is_known = |process: &Process| process.known_ns > lost_ns && !process.mappings.is_empty();
        if self.processes.get(&key).is_some_and(is_known) {
            return;
        }
        if self.reload(key, time_ns) {
            return;
        }
        let process = self.processes.entry(key).or_default();
        let Some(parent) = process.parent.filter(|_| process.mappings.is_empty()) else { return };
        if self.processes.get(&parent).is_none_or(|parent| parent.mappings.is_empty()) {
            self.reload(parent, time_ns);
        }
        if let Some(inherited) = self.processes.get(&parent).map(|parent| parent.mappings.clone()) {
            let process = self.processes.entry(key).or_default();
            (process.mappings, process.mappings_number) = (inherited, 0);
        }
    }

    /// Reads the mappings of a living process again; false when it lives no more.
    fn reload(&mut self, key: ProcessKey, time_ns: u64) -> bool {
        let now_ns = monotonic_ns();
        let Some(mut mappings) = self.names.mappings(key) else { return false };
        let process = self.processes.entry(key).or_default();
        mappings.keep_executables(&process.mappings);
        if mappings != *process.mappings {
            self.changed.insert(key);
        }
        (process.mappings, process.mappings_number) = (Arc::new(mappings), 0);
        process.known_ns = now_ns;
        let read_ns = monotonic_ns();
        process.rests_until_ns = read_ns + LOSS_REST * (read_ns - now_ns);
        let wait_ns = RELOAD_NS << process.reloads.min(MAX_RELOAD_DOUBLINGS);
        process.reload_after_ns = time_ns + wait_ns;
        process.reloads = process.reloads.saturating_add(1);
        self.current.insert(key.tgid, key);
        true
    }

    /// Looks at the mappings of a process again for an address in none; whether that helped. Looks that do not become
    /// rarer and rarer.
    pub(super) fn find_new(&mut self, key: ProcessKey, address: u64, time_ns: u64) -> bool {
        let due = self.processes.get(&key).is_some_and(|process| process.reload_after_ns <= time_ns);
        if !due || !self.reload(key, time_ns) {
            return false;
        }
        let Some(process) = self.processes.get_mut(&key) else { return false };
        let found = process.mappings.find(address).is_some();
        if found {
            process.reloads = 0;
        }
        found
    }

    /// Looks at the mappings of a process again after a loss. Of one that lives no more, what is known is all.
    pub(super) fn make_up(&mut self, key: ProcessKey, time_ns: u64) {
        let lost_ns = self.lost_ns;
        let process = self.processes.entry(key).or_default();
        process.last_used_ns = time_ns;
        if process.known_ns >= lost_ns || monotonic_ns() < process.rests_until_ns || self.reload(key, time_ns) {
            return;
        }
        if let Some(process) = self.processes.get_mut(&key) {
            process.known_ns = lost_ns;
        }
    }
}
