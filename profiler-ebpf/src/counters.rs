//! Per-CPU counters. A slot has one writer at a time: sampling does not nest on a CPU.

use crate::maps::COUNTERS;
use profiler_common::outcome::counter;

/// Adds to a slot of [`counter`].
#[inline(always)]
pub fn add(slot: u32, value: u64) {
    if slot < counter::COUNT
        && let Some(counters) = COUNTERS.get_ptr_mut(0)
    {
        // SAFETY: the slot is in bounds of this CPU's array.
        unsafe { *counters.cast::<u64>().add(slot as usize) += value };
    }
}

/// The value of a slot on this CPU.
#[inline(always)]
pub fn get(slot: u32) -> u64 {
    match COUNTERS.get_ptr(0) {
        // SAFETY: as in `add`.
        Some(counters) if slot < counter::COUNT => unsafe { *counters.cast::<u64>().add(slot as usize) },
        _ => 0,
    }
}
