//! The end of a firing: the record goes into the ring buffer and exactly one outcome is counted.

use crate::{
    copy, counters,
    maps::{EVENTS, SEEN},
};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use profiler_common::{
    limits::MAX_STACK_BYTES,
    outcome::{Outcome, UnwindStop, counter},
    record::{SampleHeader, Scratch, StackHead},
};

/// `BPF_RB_NO_WAKEUP`: the agent polls.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`: the first sample of a process, which may be gone soon, and a stack without tables.
const WAKEUP: u64 = 2;

/// Submits the sample and counts how that went.
///
/// Nothing here logs: a log line is a function of its own, and arm64 kernels before 6.0 refuse programs that have both
/// functions and tail calls ("tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls"; `cargo xtask vm
/// 5.10-aarch64` shows it).
#[inline(always)]
pub fn emit(scratch: *mut Scratch, stop: UnwindStop) {
    let sequence = counters::get(counter::OUTCOMES + Outcome::Submitted as u32) + 1;
    // SAFETY: this CPU's map value, written by nobody else while the program runs; the masked count of frames
    // keeps the length within it.
    let status = unsafe {
        let header = &raw mut (*scratch).header;
        (*header).sequence = sequence;
        (*header).stop = stop as u32;
        let bytes = (size_of::<SampleHeader>() + 8 * copy::frames(scratch)) as u64 + stack_bytes(scratch);
        let wakeup = if is_new(scratch) || (*header).stack_bytes != 0 { WAKEUP } else { NO_WAKEUP };
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), header.cast(), bytes, wakeup)
    };
    if status != 0 {
        return end(scratch, Outcome::RingFull);
    }
    end(scratch, Outcome::Submitted);
}

/// Counts the outcome and the time.
#[inline(always)]
pub fn end(scratch: *const Scratch, outcome: Outcome) {
    counters::add(counter::OUTCOMES + outcome as u32, 1);
    // SAFETY: as in `emit`.
    let elapsed_ns = unsafe { bpf_ktime_get_ns().wrapping_sub((*scratch).entered_ns) };
    counters::add(counter::RUN_NS, elapsed_ns);
}

/// Bytes of the stack's head and the stack, where there is one.
#[inline(always)]
fn stack_bytes(scratch: *const Scratch) -> u64 {
    // SAFETY: as in `emit`.
    let bytes = unsafe { (&raw const (*scratch).header.stack_bytes).read_volatile() } as u64;
    if bytes == 0 || bytes > MAX_STACK_BYTES as u64 { 0 } else { size_of::<StackHead>() as u64 + bytes }
}

/// Whether this is the first sample of its process, as far as is remembered.
#[inline(always)]
fn is_new(scratch: *const Scratch) -> bool {
    let process = copy::process(scratch);
    SEEN.get_ptr(&process).is_none() && SEEN.insert(&process, &copy::NEW, 0).is_ok()
}
