//! The maps that hold unwind tables and the mappings of processes.

use crate::unwind::{ChunkMemory, ProcessMemory};
use aya::Pod;
use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, MapError};
use profiler_common::unwind::place::{CHUNK_BYTES, CHUNK_MAP_BYTES, ProcessEntry};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// A chunk as the map has it.
#[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(transparent)]
pub(super) struct ChunkValue([u64; CHUNK_MAP_BYTES / 8]);

// SAFETY: integers.
unsafe impl Pod for ChunkValue {}

#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct EntryValue(ProcessEntry);

// SAFETY: fixed-width integers without padding.
unsafe impl Pod for EntryValue {}

type Chunk = Array<MapData, ChunkValue>;

/// Chunks of tables, and the processes that use them.
pub struct KernelTables {
    chunks: ArrayOfMaps<MapData, Chunk>,
    /// By number; none where there is no chunk.
    made: Vec<Option<Chunk>>,
    /// All zeros: takes the place of a chunk that is removed.
    empty: Chunk,
    processes: HashMap<MapData, u32, EntryValue>,
    /// A buffer for what goes into a chunk.
    value: Box<ChunkValue>,
}

impl KernelTables {
    pub(super) fn new(
        chunks: ArrayOfMaps<MapData, Chunk>,
        processes: HashMap<MapData, u32, EntryValue>,
    ) -> Result<Self, MapError> {
        let (empty, value) = (Array::create(1, 0)?, Box::new(ChunkValue::new_zeroed()));
        Ok(Self { chunks, made: Vec::new(), empty, processes, value })
    }
}

impl ChunkMemory for KernelTables {
    fn limit(&self) -> u32 {
        self.chunks.len()
    }

    fn make(&mut self, number: u32) -> std::io::Result<()> {
        let chunk = Array::create(1, 0).map_err(failed)?;
        self.chunks.set(number, &chunk, 0).map_err(failed)?;
        let index = number as usize;
        if self.made.len() <= index {
            self.made.resize_with(index + 1, || None);
        }
        self.made[index] = Some(chunk);
        Ok(())
    }

    fn write(&mut self, number: u32, bytes: &[u8]) -> std::io::Result<()> {
        let chunk = self.made.get_mut(number as usize).and_then(Option::as_mut).ok_or(std::io::ErrorKind::NotFound)?;
        self.value.as_mut_bytes()[..CHUNK_BYTES as usize].copy_from_slice(&bytes[..CHUNK_BYTES as usize]);
        let value: &ChunkValue = &self.value;
        chunk.set(0, value, 0).map_err(failed)
    }

    fn read(&self, number: u32) -> std::io::Result<Vec<u8>> {
        let chunk = self.made.get(number as usize).and_then(Option::as_ref).ok_or(std::io::ErrorKind::NotFound)?;
        let value = chunk.get(&0, 0).map_err(failed)?;
        Ok(value.as_bytes()[..CHUNK_BYTES as usize].to_vec())
    }

    fn remove(&mut self, number: u32) {
        if let Some(made) = self.made.get_mut(number as usize) {
            let _ = self.chunks.set(number, &self.empty, 0);
            *made = None;
        }
    }
}

impl ProcessMemory for KernelTables {
    fn set(&mut self, tgid: u32, entry: ProcessEntry) -> std::io::Result<()> {
        self.processes.insert(tgid, EntryValue(entry), 0).map_err(failed)
    }

    fn forget(&mut self, tgid: u32) {
        // The kernel program forgets processes that end or run a new executable by itself.
        let _ = self.processes.remove(&tgid);
    }
}

fn failed(error: MapError) -> std::io::Error {
    std::io::Error::other(error)
}
