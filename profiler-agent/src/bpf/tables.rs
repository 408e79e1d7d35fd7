//! The maps that hold unwind tables and the mappings of processes.

use crate::confine;
use crate::unwind::{ChunkMemory, ProcessMemory};
use aya::Pod;
use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, MapError};
use profiler_common::unwind::place::{self, CHUNK_BYTES, CHUNK_MAP_BYTES, ProcessEntry, SLAB_CHUNKS};
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

type Slab = Array<MapData, ChunkValue>;

/// All chunks of a slab.
const ALL: u32 = (1 << SLAB_CHUNKS) - 1;
/// Chunks that are ready when none was asked for.
const SPARE_CHUNKS: usize = SLAB_CHUNKS as usize;

/// The array of slabs. Each change of it waits until no program of the kernel uses the array as it was, which takes tens
/// of milliseconds: slabs are made ahead, on threads that may wait.
pub struct SlabMaker {
    array: Mutex<Slots>,
    /// Made and not yet asked for, by number.
    ready: Mutex<Vec<(u32, Slab)>>,
    /// Numbers whose slabs are no longer used.
    removed: Mutex<Vec<u32>>,
    /// How many should be ready.
    wanted: AtomicUsize,
    limit: u32,
}

struct Slots {
    slabs: ArrayOfMaps<MapData, Slab>,
    /// Takes the place of a slab that is removed.
    empty: Slab,
    /// Numbers below the next one that have no slab.
    free: Vec<u32>,
    next: u32,
}

impl SlabMaker {
    /// Sees to it that room for so many chunks is ready, as far as there may be so many.
    pub fn prepare(&self, chunks: usize) {
        let mut slots = lock(&self.array);
        for number in std::mem::take(&mut *lock(&self.removed)) {
            let Slots { slabs, empty, free, .. } = &mut *slots;
            let _ = slabs.set(number, empty, 0);
            free.push(number);
        }
        while lock(&self.ready).len() < chunks.div_ceil(SLAB_CHUNKS as usize) {
            let Ok(slab) = self.make(&mut slots) else { return };
            lock(&self.ready).push(slab);
        }
    }

    fn make(&self, slots: &mut Slots) -> std::io::Result<(u32, Slab)> {
        let number = slots.free.pop().unwrap_or(slots.next);
        if number >= self.limit {
            return Err(std::io::Error::new(std::io::ErrorKind::StorageFull, "no chunk is left"));
        }
        let slab = Array::create(SLAB_CHUNKS, 0).map_err(failed)?;
        slots.slabs.set(number, &slab, 0).map_err(failed)?;
        slots.next = slots.next.max(number + 1);
        Ok((number, slab))
    }

    /// One that is ready, else one made now.
    fn take(&self) -> std::io::Result<(u32, Slab)> {
        let ready = lock(&self.ready).pop();
        ready.map_or_else(|| self.make(&mut lock(&self.array)), Ok)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slab with a bit for each of its chunks that is in use.
struct Made {
    slab: Slab,
    used: u32,
}

/// Chunks of tables, and the processes that use them.
pub struct KernelTables {
    maker: Arc<SlabMaker>,
    /// Wakes the thread that makes slabs ahead; it ends when this is dropped.
    wake: SyncSender<()>,
    /// By number; none where there is no slab.
    made: Vec<Option<Made>>,
    processes: HashMap<MapData, u32, EntryValue>,
    /// A buffer for what goes into a chunk.
    value: Box<ChunkValue>,
}

impl KernelTables {
    /// Begins to make slabs: the first of them is ready when the programs are verified.
    pub(super) fn new(
        slabs: ArrayOfMaps<MapData, Slab>,
        processes: HashMap<MapData, u32, EntryValue>,
    ) -> std::io::Result<Self> {
        let limit = slabs.len();
        let slots = Slots { slabs, empty: Array::create(SLAB_CHUNKS, 0).map_err(failed)?, free: Vec::new(), next: 0 };
        let (ready, removed) = (Mutex::default(), Mutex::default());
        let maker =
            Arc::new(SlabMaker { array: Mutex::new(slots), ready, removed, wanted: AtomicUsize::new(0), limit });
        let wake = make_ahead(Arc::clone(&maker))?;
        Ok(Self { maker, wake, made: Vec::new(), processes, value: Box::new(ChunkValue::new_zeroed()) })
    }

    /// What makes slabs ahead.
    #[must_use]
    pub fn maker(&self) -> Arc<SlabMaker> {
        Arc::clone(&self.maker)
    }

    fn slab_of(&self, chunk: u32) -> std::io::Result<&Slab> {
        let made = self.made.get(place::slab(chunk) as usize).and_then(Option::as_ref);
        made.map(|made| &made.slab).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

/// Makes some slabs, and others whenever some were taken or more are wanted.
fn make_ahead(maker: Arc<SlabMaker>) -> std::io::Result<SyncSender<()>> {
    let (wake, wakes) = sync_channel(1);
    std::thread::Builder::new().name("slab-maker".into()).spawn(move || {
        confine::reader_thread();
        maker.prepare(SPARE_CHUNKS);
        while wakes.recv().is_ok() {
            maker.prepare(maker.wanted.swap(0, Ordering::Relaxed));
        }
    })?;
    Ok(wake)
}

impl ChunkMemory for KernelTables {
    fn limit(&self) -> u32 {
        self.maker.limit * SLAB_CHUNKS
    }

    fn bytes(&self) -> u64 {
        let slabs = self.made.iter().flatten().count() + lock(&self.maker.ready).len();
        slabs as u64 * u64::from(SLAB_CHUNKS) * CHUNK_MAP_BYTES as u64
    }

    fn prepare(&mut self, count: usize) {
        self.maker.wanted.fetch_max(count, Ordering::Relaxed);
        // One that was woken and is still busy looks again.
        let _ = self.wake.try_send(());
    }

    fn make(&mut self) -> std::io::Result<u32> {
        let with_room = |made: &Option<Made>| made.as_ref().is_some_and(|made| made.used != ALL);
        let slab = match self.made.iter().position(with_room) {
            Some(slab) => slab,
            None => {
                let (number, slab) = self.maker.take()?;
                self.prepare(SPARE_CHUNKS);
                let slab_index = number as usize;
                if self.made.len() <= slab_index {
                    self.made.resize_with(slab_index + 1, || None);
                }
                self.made[slab_index] = Some(Made { slab, used: 0 });
                slab_index
            }
        };
        let made = self.made[slab].as_mut().ok_or(std::io::ErrorKind::NotFound)?;
        let index = made.used.trailing_ones();
        made.used |= 1 << index;
        Ok(slab as u32 * SLAB_CHUNKS + index)
    }

    fn write(&mut self, number: u32, bytes: &[u8]) -> std::io::Result<()> {
        self.value.as_mut_bytes()[..CHUNK_BYTES as usize].copy_from_slice(&bytes[..CHUNK_BYTES as usize]);
        let made = self.made.get_mut(place::slab(number) as usize).and_then(Option::as_mut);
        let made = made.ok_or(std::io::ErrorKind::NotFound)?;
        let value: &ChunkValue = &self.value;
        made.slab.set(place::index(number), value, 0).map_err(failed)
    }

    fn read(&self, number: u32) -> std::io::Result<Vec<u8>> {
        let value = self.slab_of(number)?.get(&place::index(number), 0).map_err(failed)?;
        Ok(value.as_bytes()[..CHUNK_BYTES as usize].to_vec())
    }

    fn remove(&mut self, number: u32) {
        let slab = place::slab(number);
        let Some(place) = self.made.get_mut(slab as usize) else { return };
        let emptied = place.take_if(|made| {
            made.used &= !(1 << place::index(number));
            made.used == 0
        });
        if emptied.is_some() {
            lock(&self.maker.removed).push(slab);
            self.prepare(SPARE_CHUNKS);
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
