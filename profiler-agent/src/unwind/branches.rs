//! The mappings of a process in the kernel's memory. What has not changed stays where it is: one of tens of thousands
//! of mappings that comes or goes costs a branch.

use super::chunks::{ChunkMemory, Chunks, Range};
use profiler_common::unwind::place::{BRANCH_MAPPINGS, Branch, MAX_BRANCHES, MappingEntry, Place};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Result;
use zerocopy::IntoBytes as _;

/// Branches beyond those that are needed: with more, all are made anew.
const SPARE_BRANCHES: usize = 16;

/// A branch in the kernel's memory.
#[derive(Debug)]
struct StoredBranch {
    range: Range,
    branch: Branch,
    hash: u64,
}

/// Mappings in the kernel's memory.
#[derive(Debug, Default)]
pub(super) struct StoredProcess {
    /// Sorted.
    stored: Vec<StoredBranch>,
    /// Of the array of branches; none for a process without mappings.
    array: Option<Range>,
}

impl StoredProcess {
    /// Where its branches lie; 0 for one without mappings.
    pub(super) fn branches(&self) -> Place {
        self.array.map_or(0, |range| range.place)
    }

    /// How many they are.
    pub(super) fn branch_count(&self) -> u32 {
        self.stored.len() as u32
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let stored = self.stored.iter().map(|stored| &stored.range);
        stored.chain(&self.array).map(|range| u64::from(range.bytes)).sum()
    }

    /// Stores mappings, sorted and not overlapping, where `before` is used by nobody else. Those beyond what the kernel
    /// program can search are left out.
    ///
    /// # Errors
    /// There is no room, and nothing is stored any more.
    pub(super) fn store<M: ChunkMemory>(
        mappings: &[MappingEntry],
        before: Self,
        chunks: &mut Chunks<M>,
    ) -> Result<Self> {
        let pieces = pieces(mappings, &before.stored);
        let Self { stored, array } = before;
        let mut known: HashMap<u64, StoredBranch> =
            stored.into_iter().map(|stored| (stored.branch.start, stored)).collect();
        let mut now = Self::default();
        let result = now.add(&pieces, &mut known, chunks);
        known.into_values().map(|stored| stored.range).chain(array).for_each(|range| chunks.free(range));
        match result {
            Ok(()) => Ok(now),
            Err(error) => {
                now.free(chunks);
                Err(error)
            }
        }
    }

    fn add<M: ChunkMemory>(
        &mut self,
        pieces: &[&[MappingEntry]],
        known: &mut HashMap<u64, StoredBranch>,
        chunks: &mut Chunks<M>,
    ) -> Result<()> {
        for piece in pieces {
            let (start, count, hash) = (piece[0].start, piece.len() as u32, hash(piece));
            let same = |stored: &mut StoredBranch| stored.hash == hash && stored.branch.count == count;
            let kept = known.get_mut(&start).is_some_and(same).then(|| known.remove(&start)).flatten();
            self.stored.push(match kept {
                Some(kept) => kept,
                None => {
                    let range = chunks.store(piece.as_bytes())?;
                    StoredBranch { range, branch: Branch { start, mappings: range.place, count }, hash }
                }
            });
        }
        if !self.stored.is_empty() {
            let branches: Vec<Branch> = self.stored.iter().map(|stored| stored.branch).collect();
            self.array = Some(chunks.store(branches.as_bytes())?);
        }
        chunks.commit()
    }

    /// Frees mappings that no process refers to any more.
    pub(super) fn free<M: ChunkMemory>(self, chunks: &mut Chunks<M>) {
        self.stored.into_iter().map(|stored| stored.range).chain(self.array).for_each(|range| chunks.free(range));
    }
}

/// Mappings branch by branch, each beginning where one began before: what lies between two that changed is the same.
fn pieces<'a>(mappings: &'a [MappingEntry], before: &[StoredBranch]) -> Vec<&'a [MappingEntry]> {
    let size = BRANCH_MAPPINGS as usize;
    let (mut pieces, mut left) = (Vec::new(), mappings);
    for stored in before.iter().skip(1) {
        let (piece, rest) = left.split_at(left.partition_point(|mapping| mapping.start < stored.branch.start));
        pieces.extend(piece.chunks(size));
        left = rest;
    }
    pieces.extend(left.chunks(size));
    let needed = mappings.len().div_ceil(size);
    if pieces.len() > MAX_BRANCHES as usize || pieces.len() > 2 * needed + SPARE_BRANCHES {
        pieces = mappings.chunks(size).take(MAX_BRANCHES as usize).collect();
    }
    pieces
}

/// Tells mappings apart.
pub(super) fn hash(entries: &[MappingEntry]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(entries.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::chunks::tests::Heap;
    use super::super::store::without_rows;
    use super::*;
    use profiler_common::unwind::place::{self, kind};

    fn mappings(count: u64) -> Vec<MappingEntry> {
        (1..=count).map(|index| without_rows(index << 20, (index << 20) + 0x1000)).collect()
    }

    fn read<T: zerocopy::FromBytes>(chunks: &mut Chunks<Heap>, at: Place, count: u32) -> Vec<T> {
        let chunk = chunks.memory().chunks[place::chunk(at) as usize].as_ref().unwrap();
        let bytes = &chunk[place::offset(at) as usize..][..count as usize * size_of::<T>()];
        bytes.chunks(size_of::<T>()).map(|bytes| T::read_from_bytes(bytes).unwrap()).collect()
    }

    /// As the kernel program sees them.
    fn seen(stored: &StoredProcess, chunks: &mut Chunks<Heap>) -> Vec<MappingEntry> {
        let branches: Vec<Branch> = read(chunks, stored.branches(), stored.branch_count());
        assert!(branches.is_sorted_by_key(|branch| branch.start));
        branches.into_iter().flat_map(|branch| read(chunks, branch.mappings, branch.count)).collect()
    }

    fn places(stored: &StoredProcess) -> Vec<Place> {
        stored.stored.iter().map(|stored| stored.range.place).collect()
    }

    #[test]
    fn a_change_costs_one_branch() {
        let mut chunks = Chunks::new(Heap { limit: 100, ..Heap::default() });
        let mut entries = mappings(65_000);
        let first = StoredProcess::store(&entries, StoredProcess::default(), &mut chunks).unwrap();
        assert_eq!(seen(&first, &mut chunks), entries);
        let before = places(&first);
        entries[1000].kind = kind::UNKNOWN;
        entries.remove(40_000);
        entries.insert(0, without_rows(1, 2));
        let second = StoredProcess::store(&entries, first, &mut chunks).unwrap();
        assert_eq!(seen(&second, &mut chunks), entries);
        let kept = places(&second).into_iter().filter(|place| before.contains(place)).count();
        assert_eq!(kept, before.len() - 3);
    }

    #[test]
    fn many_small_branches_become_few() {
        let mut chunks = Chunks::new(Heap { limit: 100, ..Heap::default() });
        let entries = mappings(60_000);
        let many = StoredProcess::store(&entries, StoredProcess::default(), &mut chunks).unwrap();
        let few: Vec<MappingEntry> = entries.iter().step_by(100).copied().collect();
        let stored = StoredProcess::store(&few, many, &mut chunks).unwrap();
        assert_eq!(stored.branch_count(), 5);
        assert_eq!(seen(&stored, &mut chunks), few);
        let none = StoredProcess::store(&[], stored, &mut chunks).unwrap();
        assert_eq!((none.branches(), none.branch_count()), (0, 0));
    }

    #[test]
    fn without_room_nothing_stays() {
        let mut chunks = Chunks::new(Heap { limit: 2, ..Heap::default() });
        let small = StoredProcess::store(&mappings(100), StoredProcess::default(), &mut chunks).unwrap();
        assert!(StoredProcess::store(&mappings(65_000), small, &mut chunks).is_err());
        chunks.advance(u64::MAX);
        assert_eq!(chunks.bytes(), 0);
    }
}
