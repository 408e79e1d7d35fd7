//! The chain of programs that walks the user stack, and the frame-pointer way of taking a step.

use crate::{
    emit,
    maps::{self, SCRATCH},
    read,
};
use aya_ebpf::programs::PerfEventContext;
use profiler_common::{
    limits::{FRAME_SLOTS, FRAMES_PER_PROGRAM, MAX_TAIL_CALLS},
    outcome::UnwindStop,
    record::Scratch,
};

/// The body of one link: some frames, then the next link or the end.
#[inline(always)]
pub fn walk(ctx: &PerfEventContext) -> Option<u32> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    for _ in 0..FRAMES_PER_PROGRAM {
        push(scratch);
        if let Err(stop) = step_frame_pointer(scratch) {
            emit::emit(ctx, scratch, stop);
            return None;
        }
    }
    // SAFETY: this CPU's map value, written by nobody else while the program runs.
    let tail_calls = unsafe { (*scratch).tail_calls } + 1;
    if tail_calls < MAX_TAIL_CALLS {
        // SAFETY: as above.
        unsafe { (*scratch).tail_calls = tail_calls };
        maps::tail_call_walk(ctx);
    }
    emit::emit(ctx, scratch, UnwindStop::TooDeep);
    None
}

/// Records the program counter as the next frame.
#[inline(always)]
fn push(scratch: *mut Scratch) {
    // SAFETY: the masked index is in bounds. Volatile keeps the mask: LLVM drops it where a range is known.
    unsafe {
        let header = &raw mut (*scratch).header;
        let user = (&raw const (*header).user_frames).read_volatile();
        let index = ((&raw const (*header).kernel_frames).read_volatile() + user) as usize & (FRAME_SLOTS - 1);
        (&raw mut (*scratch).frames).cast::<u64>().add(index).write((*scratch).pc);
        (&raw mut (*header).user_frames).write_volatile(user + 1);
    }
}

/// `(pc, sp, fp) = (*(fp + 8), fp + 16, *fp)`; on aarch64 the pair lies at x29 in the same order.
#[inline(always)]
fn step_frame_pointer(scratch: *mut Scratch) -> Result<(), UnwindStop> {
    // SAFETY: this CPU's map value, written by nobody else while the program runs.
    let (sp, fp) = unsafe { ((*scratch).sp, (*scratch).fp) };
    if fp == 0 {
        return Err(UnwindStop::Root);
    }
    if fp < sp || fp & 7 != 0 {
        return Err(UnwindStop::BadFramePointer);
    }
    let Some([next_fp, return_address]) = read::user::<[u64; 2]>(fp) else { return Err(UnwindStop::BadMemory) };
    if return_address == 0 {
        return Err(UnwindStop::Root);
    }
    // SAFETY: as above.
    unsafe {
        (*scratch).pc = strip_signature(return_address);
        (*scratch).sp = fp + 16;
        (*scratch).fp = next_fp;
    }
    Ok(())
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn strip_signature(address: u64) -> u64 {
    address
}

/// Return addresses may be signed in the bits above the 48 of a user address.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn strip_signature(address: u64) -> u64 {
    address & ((1 << 48) - 1)
}
