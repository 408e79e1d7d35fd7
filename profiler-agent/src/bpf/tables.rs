//! The maps that hold unwind tables and the mappings of processes.

use crate::unwind::{ChunkMemory, ProcessMemory};
use aya::Pod;
use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, MapError};
use profiler_common::unwind::place::{CHUNK_BYTES, CHUNK_MAP_BYTES, ProcessEntry};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// Chunks that are ready when none was asked for: a table of a small program and the mappings of its processes.
const SPARE_CHUNKS: usize = 4;

/// The array of chunks. Each change of it waits until no program of the kernel uses the array as it was, which takes tens
/// of milliseconds: chunks are made ahead, on threads that may wait.
pub struct ChunkMaker {
    array: Mutex<Slots>,
    /// Made and not yet asked for, by number.
    ready: Mutex<Vec<(u32, Chunk)>>,
    /// Numbers whose chunks are no longer used.
    removed: Mutex<Vec<u32>>,
    /// How many should be ready.
    wanted: AtomicUsize,
    limit: u32,
}

struct Slots {
    chunks: ArrayOfMaps<MapData, Chunk>,
    /// All zeros: takes the place of a chunk that is removed.
    empty: Chunk,
    /// Numbers below the next one that have no chunk.
    free: Vec<u32>,
    next: u32,
}

impl ChunkMaker {
    /// Sees to it that so many chunks are ready, as far as there may be so many.
    pub fn prepare(&self, count: usize) {
        let mut slots = lock(&self.array);
        for number in std::mem::take(&mut *lock(&self.removed)) {
            let Slots { chunks, empty, free, .. } = &mut *slots;
            let _ = chunks.set(number, empty, 0);
            free.push(number);
        }
        while lock(&self.ready).len() < count {
            let Ok(chunk) = self.make(&mut slots) else { return };
            lock(&self.ready).push(chunk);
        }
    }

    fn make(&self, slots: &mut Slots) -> std::io::Result<(u32, Chunk)> {
        let number = slots.free.pop().unwrap_or(slots.next);
        if number >= self.limit {
            return Err(std::io::Error::new(std::io::ErrorKind::StorageFull, "no chunk is left"));
        }
        let chunk = Array::create(1, 0).map_err(failed)?;
        slots.chunks.set(number, &chunk, 0).map_err(failed)?;
        slots.next = slots.next.max(number + 1);
        Ok((number, chunk))
    }

    /// One that is ready, else one made now.
    fn take(&self) -> std::io::Result<(u32, Chunk)> {
        let ready = lock(&self.ready).pop();
        ready.map_or_else(|| self.make(&mut lock(&self.array)), Ok)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chunks of tables, and the processes that use them.
pub struct KernelTables {
    maker: Arc<ChunkMaker>,
    /// Wakes the thread that makes chunks ahead; it ends when this is dropped.
    wake: SyncSender<()>,
    /// By number; none where there is no chunk.
    made: Vec<Option<Chunk>>,
    processes: HashMap<MapData, u32, EntryValue>,
    /// A buffer for what goes into a chunk.
    value: Box<ChunkValue>,
}

impl KernelTables {
    /// Begins to make chunks: the first of them are ready when the programs are verified.
    pub(super) fn new(
        chunks: ArrayOfMaps<MapData, Chunk>,
        processes: HashMap<MapData, u32, EntryValue>,
    ) -> std::io::Result<Self> {
        let limit = chunks.len();
        let slots = Slots { chunks, empty: Array::create(1, 0).map_err(failed)?, free: Vec::new(), next: 0 };
        let (ready, removed) = (Mutex::default(), Mutex::default());
        let maker =
            Arc::new(ChunkMaker { array: Mutex::new(slots), ready, removed, wanted: AtomicUsize::new(0), limit });
        let wake = make_ahead(Arc::clone(&maker))?;
        Ok(Self { maker, wake, made: Vec::new(), processes, value: Box::new(ChunkValue::new_zeroed()) })
    }

    /// What makes chunks ahead.
    #[must_use]
    pub fn maker(&self) -> Arc<ChunkMaker> {
        Arc::clone(&self.maker)
    }
}

/// Makes some chunks, and others whenever some were taken or more are wanted.
fn make_ahead(maker: Arc<ChunkMaker>) -> std::io::Result<SyncSender<()>> {
    let (wake, wakes) = sync_channel(1);
    std::thread::Builder::new().name("chunk-maker".into()).spawn(move || {
        maker.prepare(SPARE_CHUNKS);
        while wakes.recv().is_ok() {
            maker.prepare(maker.wanted.swap(0, Ordering::Relaxed));
        }
    })?;
    Ok(wake)
}

impl ChunkMemory for KernelTables {
    fn limit(&self) -> u32 {
        self.maker.limit
    }

    fn prepare(&mut self, count: usize) {
        self.maker.wanted.fetch_max(count, Ordering::Relaxed);
        // One that was woken and is still busy looks again.
        let _ = self.wake.try_send(());
    }

    fn make(&mut self) -> std::io::Result<u32> {
        let (number, chunk) = self.maker.take()?;
        self.prepare(SPARE_CHUNKS);
        let index = number as usize;
        if self.made.len() <= index {
            self.made.resize_with(index + 1, || None);
        }
        self.made[index] = Some(chunk);
        Ok(number)
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
            lock(&self.maker.removed).push(number);
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

    fn retain(&mut self, keep: &dyn Fn(u32, ProcessEntry) -> bool) {
        let known: Vec<(u32, EntryValue)> = self.processes.iter().filter_map(Result::ok).collect();
        let unwanted = known.into_iter().filter(|(tgid, EntryValue(entry))| !keep(*tgid, *entry));
        unwanted.for_each(|(tgid, _)| self.forget(tgid));
    }
}

fn failed(error: MapError) -> std::io::Error {
    std::io::Error::other(error)
}
