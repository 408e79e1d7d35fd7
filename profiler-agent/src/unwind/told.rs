//! What the kernel program was told of a process, and when it has to be told anew.

use super::branches::StoredProcess;
use profiler_common::record::Stamps;
use profiler_common::unwind::place::{CHUNK_BYTES, OUTDATED, SLAB_CHUNKS, Stamp};
use std::collections::HashSet;
use std::sync::Arc;

/// How often the same is told in a row before the kernel program goes by it in any case.
const MAX_IN_VAIN: u32 = 16;
/// How long a process that put a library where another one was is suspected of doing it again.
const REPLACES_NS: u64 = 10_000_000_000;

/// How long a process rests after it was told, for each of its mappings: about twenty times of what it takes.
pub(super) const REST_NS_PER_MAPPING: u64 = 2_000;
/// How long it takes until a slab is there; one is there at once.
const SLAB_NS: u64 = 25_000_000;

/// What the kernel program was told of a process, and of those forked from it since.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    pub(super) stored: StoredProcess,
    /// The tables they refer to.
    pub(super) tables: HashSet<u32>,
    /// Of the entries.
    pub(super) hash: u64,
}

/// A process with copied stacks, or one that began with mappings of such a one.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Whether a stack of it was copied.
    pub(super) copied: bool,
    /// None while the kernel program does not know it.
    pub(super) mappings: Option<Arc<Mappings>>,
    /// Of the mappings when the last stack was copied; none when they have changed since.
    pub(super) stamps: Option<Stamps>,
    /// Whether all its mappings since the last exec were told as they were made.
    pub(super) fresh: bool,
    /// When a file was last mapped where another one was.
    pub(super) replaced_ns: u64,
    /// How often in a row the same was told again.
    pub(super) in_vain: u32,
    /// When it may be told again.
    pub(super) rests_until_ns: u64,
    /// Whether room for more mappings was asked for.
    pub(super) waits_for_room: bool,
}

impl Told {
    /// Whether the kernel program has to know what it maps.
    pub(super) fn matters(&self) -> bool {
        self.copied || self.mappings.is_some()
    }

    /// What the kernel program should compare. What changes without anything to tell, like the pages of a compiler at run
    /// time, is not worth the copies.
    pub(super) fn stamp(&self, now_ns: u64) -> Stamp {
        let replaces = self.replaced_ns != 0 && now_ns < self.replaced_ns + REPLACES_NS;
        match self.stamps {
            _ if self.in_vain >= MAX_IN_VAIN => 0,
            Some(Stamps { changes, .. }) if replaces && changes != 0 => changes,
            Some(Stamps { size, .. }) => size,
            // A copy at once would be of no use, and may not reach as far as a walk.
            None if self.fresh => 0,
            None => OUTDATED,
        }
    }

    /// Room for more mappings than it has: so many chunks should be ready. Waits for them once.
    pub(super) fn wait_for_room(&mut self, bytes: u64, now_ns: u64) -> Option<usize> {
        let known = self.mappings.as_ref().map_or(0, |mappings| mappings.stored.bytes());
        let chunks = bytes.saturating_sub(known) / u64::from(CHUNK_BYTES);
        let slabs = chunks / u64::from(SLAB_CHUNKS);
        self.waits_for_room = slabs > 0 && !self.waits_for_room;
        if !self.waits_for_room {
            return None;
        }
        self.rests_until_ns = now_ns + slabs * SLAB_NS;
        Some(chunks as usize + 1)
    }

    /// Whether a table must stay for it.
    pub(super) fn uses(&self, table: u32) -> bool {
        self.mappings.as_ref().is_some_and(|mappings| mappings.tables.contains(&table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPS: Stamps = Stamps { size: 1, changes: 2 };

    #[test]
    fn sizes_are_compared_unless_libraries_take_turns() {
        let mut told = Told { stamps: Some(STAMPS), ..Told::default() };
        assert_eq!(told.stamp(5), STAMPS.size);
        told.replaced_ns = 7;
        assert_eq!((told.stamp(8), told.stamp(7 + REPLACES_NS)), (STAMPS.changes, STAMPS.size));
        told.stamps = Some(Stamps { changes: 0, ..STAMPS });
        assert_eq!(told.stamp(8), STAMPS.size);
    }

    #[test]
    fn what_was_mapped_since_the_last_copy_is_outdated() {
        assert_eq!(Told::default().stamp(5), OUTDATED);
        assert_eq!(Told { fresh: true, ..Told::default() }.stamp(5), 0);
    }

    #[test]
    fn nothing_is_compared_where_it_never_helps() {
        let told = Told { stamps: Some(STAMPS), in_vain: MAX_IN_VAIN, ..Told::default() };
        assert_eq!(told.stamp(5), 0);
    }

    #[test]
    fn room_for_tens_of_thousands_of_mappings_is_waited_for_once() {
        let slab = u64::from(CHUNK_BYTES * SLAB_CHUNKS);
        let mut told = Told::default();
        assert_eq!((told.wait_for_room(slab - 1, 5), told.rests_until_ns), (None, 0));
        assert_eq!(told.wait_for_room(2 * slab + 1, 5), Some(2 * SLAB_CHUNKS as usize + 1));
        assert_eq!(told.rests_until_ns, 5 + 2 * SLAB_NS);
        assert_eq!(told.wait_for_room(2 * slab + 1, 99), None);
    }
}
