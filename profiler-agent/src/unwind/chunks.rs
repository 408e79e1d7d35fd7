//! Places in chunks: who lies where, what is free.

use profiler_common::unwind::place::{self, ALIGNMENT, CHUNK_BYTES, Place};
use std::collections::VecDeque;
use std::io::Result;

/// Chunks of memory that the kernel program reads.
pub trait ChunkMemory {
    /// How many there may be.
    fn limit(&self) -> u32;
    /// Bytes that all of it takes.
    fn bytes(&self) -> u64;
    /// Asks that so many be made ahead, by others; returns at once.
    fn prepare(&mut self, count: usize);
    /// Makes one, whatever is in it; its number.
    fn make(&mut self) -> Result<u32>;
    /// Replaces the bytes of one, [`CHUNK_BYTES`] of them.
    fn write(&mut self, number: u32, bytes: &[u8]) -> Result<()>;
    /// The bytes of one.
    fn read(&self, number: u32) -> Result<Vec<u8>>;
    /// Gives its memory back.
    fn remove(&mut self, number: u32);
}

/// A walk in the kernel may still read what was freed less than this ago.
const QUARANTINE_NS: u64 = 1_000_000_000;

/// Bytes of a chunk in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Where.
    pub place: Place,
    /// How many.
    pub bytes: u32,
}

/// Free ranges of one chunk, sorted, not touching.
#[derive(Debug, Default)]
struct Free(Vec<(u32, u32)>);

impl Free {
    fn largest(&self) -> u32 {
        self.0.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }

    fn take(&mut self, bytes: u32) -> Option<u32> {
        let index = self.0.iter().position(|(_, free)| *free >= bytes)?;
        let (at, free) = &mut self.0[index];
        let taken = *at;
        *at += bytes;
        *free -= bytes;
        if *free == 0 {
            self.0.remove(index);
        }
        Some(taken)
    }

    fn give(&mut self, at: u32, bytes: u32) {
        let index = self.0.partition_point(|(start, _)| *start < at);
        self.0.insert(index, (at, bytes));
        if let Some(&(next, more)) = self.0.get(index + 1)
            && at + bytes == next
        {
            self.0[index].1 += more;
            self.0.remove(index + 1);
        }
        if let Some((before, length)) = index.checked_sub(1).map(|before| self.0[before])
            && before + length == at
        {
            self.0[index - 1].1 += self.0[index].1;
            self.0.remove(index);
        }
    }
}

/// Hands out places.
#[derive(Debug)]
pub(super) struct Chunks<M> {
    memory: M,
    /// Free ranges and the largest of them, by chunk; none where there is no chunk.
    free: Vec<Option<(Free, u32)>>,
    /// Freed ranges by the time they were freed.
    quarantine: VecDeque<(u64, Range)>,
    /// The chunk written to last, its bytes, and whether the memory lacks them.
    open: Option<(u32, Vec<u8>, bool)>,
    now_ns: u64,
}

impl<M: ChunkMemory> Chunks<M> {
    /// Of memory without chunks.
    pub(super) fn new(memory: M) -> Self {
        Self { memory, free: Vec::new(), quarantine: VecDeque::new(), open: None, now_ns: 0 }
    }

    /// The memory.
    pub(super) fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Bytes that all of them take.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Share of the chunks that there may be.
    #[must_use]
    pub(super) fn used_ratio(&self) -> f64 {
        self.free.iter().flatten().count() as f64 / f64::from(self.memory.limit().max(1))
    }

    /// Tells the time; what was freed long enough ago can be used again, and empty chunks go.
    pub(super) fn advance(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        while let Some(&(freed_ns, range)) = self.quarantine.front()
            && freed_ns + QUARANTINE_NS <= now_ns
        {
            self.quarantine.pop_front();
            self.release(range);
        }
    }

    fn release(&mut self, range: Range) {
        let number = place::chunk(range.place);
        let Some(Some((free, largest))) = self.free.get_mut(number as usize) else { return };
        free.give(place::offset(range.place), range.bytes);
        *largest = free.largest();
        if *largest == capacity(number) {
            self.free[number as usize] = None;
            self.open.take_if(|(open, _, _)| *open == number);
            self.memory.remove(number);
        }
    }

    /// Stores some bytes, at most a chunk less [`ALIGNMENT`]; an error when there is no room. [`Chunks::commit`] makes
    /// them visible.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Result<Range> {
        let length = (bytes.len() as u32).next_multiple_of(ALIGNMENT);
        let number = self.chunk_with(length)?;
        self.open(number)?;
        let Some(Some((free, largest))) = self.free.get_mut(number as usize) else { return Err(full()) };
        let at = free.take(length).ok_or_else(full)?;
        *largest = free.largest();
        if let Some((_, open, dirty)) = &mut self.open {
            open[at as usize..][..bytes.len()].copy_from_slice(bytes);
            *dirty = true;
        }
        Ok(Range { place: number << 16 | at, bytes: length })
    }

    /// A chunk with so much room; a new one when there is none.
    fn chunk_with(&mut self, bytes: u32) -> Result<u32> {
        let open = self.open.as_ref().map(|(number, _, _)| *number as usize);
        let fits = |number: &usize| matches!(&self.free[*number], Some((_, largest)) if *largest >= bytes);
        if let Some(number) = open.filter(fits).or_else(|| (0..self.free.len()).find(fits)) {
            return Ok(number as u32);
        }
        if bytes > capacity(0) {
            return Err(full());
        }
        let number = self.memory.make()?;
        let index = number as usize;
        if index >= self.free.len() {
            self.free.resize_with(index + 1, || None);
        }
        let room = capacity(number);
        self.free[index] = Some((Free(vec![(CHUNK_BYTES - room, room)]), room));
        Ok(number)
    }

    fn open(&mut self, number: u32) -> Result<()> {
        if self.open.as_ref().is_some_and(|(open, _, _)| *open == number) {
            return Ok(());
        }
        self.commit()?;
        self.open = Some((number, self.memory.read(number)?, false));
        Ok(())
    }

    /// Makes what was stored visible to the kernel program.
    pub(super) fn commit(&mut self) -> Result<()> {
        if let Some((number, bytes, dirty)) = &mut self.open
            && std::mem::take(dirty)
        {
            self.memory.write(*number, bytes)?;
        }
        Ok(())
    }

    /// Frees a range.
    pub(super) fn free(&mut self, range: Range) {
        self.quarantine.push_back((self.now_ns, range));
    }
}

/// Bytes of a chunk that can be handed out: place 0 is nowhere.
fn capacity(number: u32) -> u32 {
    CHUNK_BYTES - if number == 0 { ALIGNMENT } else { 0 }
}

fn full() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::StorageFull, "no chunk is left")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Chunks in ordinary memory.
    #[derive(Debug, Default)]
    pub(in crate::unwind) struct Heap {
        pub(in crate::unwind) chunks: Vec<Option<Vec<u8>>>,
        pub(in crate::unwind) limit: u32,
    }

    impl ChunkMemory for Heap {
        fn limit(&self) -> u32 {
            self.limit
        }

        fn bytes(&self) -> u64 {
            self.chunks.iter().flatten().map(|chunk| chunk.len() as u64).sum()
        }

        fn prepare(&mut self, _count: usize) {}

        fn make(&mut self) -> Result<u32> {
            let number = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
            if number as u32 >= self.limit {
                return Err(full());
            }
            self.chunks.resize(self.chunks.len().max(number + 1), None);
            self.chunks[number] = Some(vec![0; CHUNK_BYTES as usize]);
            Ok(number as u32)
        }

        fn write(&mut self, number: u32, bytes: &[u8]) -> Result<()> {
            self.chunks[number as usize] = Some(bytes.to_vec());
            Ok(())
        }

        fn read(&self, number: u32) -> Result<Vec<u8>> {
            Ok(self.chunks[number as usize].clone().unwrap())
        }

        fn remove(&mut self, number: u32) {
            self.chunks[number as usize] = None;
        }
    }

    fn chunks(limit: u32) -> Chunks<Heap> {
        Chunks::new(Heap { limit, ..Heap::default() })
    }

    fn at(chunks: &Chunks<Heap>, range: Range, bytes: usize) -> Vec<u8> {
        let chunk = chunks.memory.chunks[place::chunk(range.place) as usize].as_ref().unwrap();
        chunk[place::offset(range.place) as usize..][..bytes].to_vec()
    }

    #[test]
    fn what_is_stored_is_there_after_a_commit() {
        let mut chunks = chunks(4);
        let first = chunks.store(&[1; 40_000]).unwrap();
        let second = chunks.store(&[2; 40_000]).unwrap();
        let third = chunks.store(&[3; 13]).unwrap();
        chunks.commit().unwrap();
        assert_eq!(at(&chunks, first, 40_000), [1; 40_000]);
        assert_eq!(at(&chunks, second, 40_000), [2; 40_000]);
        assert_eq!(at(&chunks, third, 13), [3; 13]);
        assert_ne!(first.place, 0);
        assert_ne!(place::chunk(first.place), place::chunk(second.place));
    }

    #[test]
    fn freed_room_waits_and_empty_chunks_go() {
        let mut chunks = chunks(1);
        let whole = [7; CHUNK_BYTES as usize - ALIGNMENT as usize];
        let range = chunks.store(&whole).unwrap();
        assert_eq!(chunks.store(&[1]).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        chunks.advance(5);
        chunks.free(range);
        chunks.advance(QUARANTINE_NS);
        assert!(chunks.store(&[1]).is_err(), "a walk may still read there");
        chunks.advance(QUARANTINE_NS + 5);
        assert_eq!(chunks.bytes(), 0);
        assert!(chunks.store(&whole).is_ok());
    }

    #[test]
    fn neighbours_that_are_free_become_one() {
        let mut free = Free(vec![(0, 64)]);
        let places: Vec<u32> = (0..4).map(|_| free.take(16).unwrap()).collect();
        assert_eq!(free.take(8), None);
        for index in [0, 2, 1, 3] {
            free.give(places[index], 16);
        }
        assert_eq!(free.0, [(0, 64)]);
    }
}
