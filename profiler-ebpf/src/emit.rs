//! The end of a firing: the record goes into the ring buffer and exactly one outcome is counted.

use crate::{
    counters,
    maps::{EVENTS, SEEN},
};
use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output},
};
use profiler_common::{
    limits::FRAME_SLOTS,
    outcome::{Outcome, UnwindStop, counter},
    record::{SampleHeader, Scratch},
};

/// `BPF_RB_NO_WAKEUP`: the agent polls.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`: the first sample of a process; it may be gone soon.
const WAKEUP: u64 = 2;

/// Submits the sample and counts how that went.
#[inline(always)]
pub fn emit(ctx: &impl EbpfContext, scratch: *mut Scratch, stop: UnwindStop) {
    let sequence = counters::get(counter::OUTCOMES + Outcome::Submitted as u32) + 1;
    // SAFETY: this CPU's map value, written by nobody else while the program runs; the masked count of frames
    // keeps the length within it.
    let status = unsafe {
        let header = &raw mut (*scratch).header;
        (*header).sequence = sequence;
        (*header).stop = stop as u32;
        let frames = ((&raw const (*header).kernel_frames).read_volatile()
            + (&raw const (*header).user_frames).read_volatile()) as usize
            & (FRAME_SLOTS - 1);
        let bytes = (size_of::<SampleHeader>() + 8 * frames) as u64;
        let wakeup = if is_new(scratch) { WAKEUP } else { NO_WAKEUP };
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), header.cast(), bytes, wakeup)
    };
    if status != 0 {
        aya_log_ebpf::debug!(ctx, "ring buffer full, sample lost: error {}", status);
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

/// Whether this is the first sample of its process, as far as is remembered.
#[inline(always)]
fn is_new(scratch: *const Scratch) -> bool {
    // SAFETY: as in `emit`.
    let process = unsafe { (*scratch).header.start_ns ^ (u64::from((*scratch).header.tgid) << 32) };
    SEEN.get_ptr(&process).is_none() && SEEN.insert(&process, &1, 0).is_ok()
}
