//! Tables in the chunks: which mapping an address is in, and which rule holds for it.

use crate::maps::SLABS;
use profiler_common::{
    limits::REGISTER_SLOTS,
    outcome::UnwindStop,
    record::Scratch,
    unwind::{
        Rule, Stack,
        page::{self, Bytes},
        place::{self, BRANCH_MAPPINGS, Branch, CHUNK_BYTES, MAX_BRANCHES, MappingEntry, Place, ProcessEntry, kind},
    },
};

/// Halvings that find one of up to [`MAX_BRANCHES`], and of up to [`BRANCH_MAPPINGS`].
const BRANCH_HALVINGS: u32 = MAX_BRANCHES.ilog2();
const MAPPING_HALVINGS: u32 = BRANCH_MAPPINGS.ilog2();

/// A chunk: any offset below [`CHUNK_BYTES`] can be loaded from.
#[derive(Clone, Copy)]
struct Chunk(*const u8);

impl Chunk {
    #[inline(always)]
    fn of(place: Place) -> Option<Self> {
        let chunk = place::chunk(place);
        let found = SLABS.get_value(place::slab(chunk), &place::index(chunk));
        found.map(|chunk| Self(core::ptr::from_ref(chunk).cast()))
    }

    #[inline(always)]
    fn load<T: Copy>(self, at: u32) -> T {
        // SAFETY: the masked offset and 8 bytes more lie in the chunk's map.
        unsafe { self.0.add((at & (CHUNK_BYTES - 1)) as usize).cast::<T>().read() }
    }
}

impl Bytes for Chunk {
    #[inline(always)]
    fn u8(self, at: u32) -> u8 {
        self.load(at)
    }

    #[inline(always)]
    fn u16(self, at: u32) -> u16 {
        self.load(at)
    }

    #[inline(always)]
    fn u32(self, at: u32) -> u32 {
        self.load(at)
    }
}

/// The rule for an address. [`UnwindStop::Copied`] where the agent has not yet said what holds there.
#[inline(always)]
pub fn rule(scratch: *mut Scratch, process: *const ProcessEntry, address: u64) -> Result<Rule, UnwindStop> {
    // SAFETY: this CPU's map value, written by nobody else while the program runs.
    let mapping = unsafe { &raw mut (*scratch).mapping };
    // SAFETY: as above.
    let (start, end) = unsafe { ((*mapping).start, (*mapping).end) };
    if address < start || address >= end {
        find_mapping(mapping, process, address).ok_or(UnwindStop::Copied)?;
    }
    // SAFETY: as above.
    let (bias, directory) = unsafe { ((*mapping).bias, (*mapping).directory) };
    // SAFETY: as above.
    let (pages, bits, kind) = unsafe { ((*mapping).pages, (*mapping).page_bits, (*mapping).kind) };
    if kind != kind::ROWS {
        return if kind == kind::NO_ROWS { Ok(Rule::NONE) } else { Err(UnwindStop::Copied) };
    }
    let distance = address.wrapping_sub(bias);
    let bits = u32::from(bits) & 31;
    let number = distance >> bits;
    if number >= u64::from(pages) {
        return Ok(Rule::NONE);
    }
    let entry: Place =
        Chunk::of(directory).ok_or(UnwindStop::Copied)?.load(place::offset(directory) + ((number as u32) << 2));
    if entry == 0 {
        return Ok(Rule::NONE);
    }
    let low = (distance as u32) & ((1 << bits) - 1);
    Ok(page::lookup(Chunk::of(entry).ok_or(UnwindStop::Copied)?, place::offset(entry), low, bits))
}

/// Makes the mapping that holds an address the one at hand.
#[inline(always)]
fn find_mapping(into: *mut MappingEntry, process: *const ProcessEntry, address: u64) -> Option<()> {
    // SAFETY: a map value; entries are replaced as a whole.
    let (branches, count) = unsafe { ((*process).branches, (*process).branch_count) };
    let chunk = Chunk::of(branches)?;
    let branch = last_at_most::<{ size_of::<Branch>() as u32 }>(chunk, branches, count, address, BRANCH_HALVINGS)?;
    let (mappings, count): (Place, u32) = (chunk.load(branch + 8), chunk.load(branch + 12));
    let chunk = Chunk::of(mappings)?;
    let at = last_at_most::<{ size_of::<MappingEntry>() as u32 }>(chunk, mappings, count, address, MAPPING_HALVINGS)?;
    let end: u64 = chunk.load(at + 8);
    if address >= end {
        return None;
    }
    // SAFETY: `into` is in this CPU's scratch record.
    unsafe {
        let words = into.cast::<u64>();
        words.write(chunk.load(at));
        words.add(1).write(end);
        words.add(2).write(chunk.load(at + 16));
        words.add(3).write(chunk.load(at + 24));
    }
    Some(())
}

/// Offset of the last of some entries that begins at or below an address; an entry begins with its start.
#[inline(always)]
fn last_at_most<const BYTES: u32>(chunk: Chunk, place: Place, count: u32, address: u64, halvings: u32) -> Option<u32> {
    let base = place::offset(place);
    let (mut first, mut left) = (0_u32, count);
    for _ in 0..halvings {
        let half = left >> 1;
        let start: u64 = chunk.load(base.wrapping_add(first.wrapping_add(half).wrapping_mul(BYTES)));
        // All ones where the entry begins beyond the address; user addresses have no bit 63.
        let beyond = (address.wrapping_sub(start) as i64 >> 63) as u32;
        first = first.wrapping_add(half & !beyond);
        left -= half;
    }
    let at = base.wrapping_add(first.wrapping_mul(BYTES));
    if chunk.load::<u64>(at) <= address { Some(at) } else { None }
}

/// Memory and registers of the running task.
#[derive(Clone, Copy)]
pub struct Running(pub *mut Scratch);

impl Stack for Running {
    #[inline(always)]
    fn word(&self, address: u64) -> Option<u64> {
        crate::read::user(address)
    }

    #[inline(always)]
    fn register(&self, slot: u32) -> Option<u64> {
        // SAFETY: the masked index is in bounds of this CPU's scratch record.
        Some(unsafe {
            (&raw const (*self.0).walk.registers).cast::<u64>().add(slot as usize & (REGISTER_SLOTS - 1)).read()
        })
    }

    #[inline(always)]
    fn thread_pointer(&self) -> Option<u64> {
        // SAFETY: as above.
        let task = crate::task::Task(unsafe { (*self.0).task });
        task.thread_pointer()
    }
}
