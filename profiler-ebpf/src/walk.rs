//! The chain of programs that walks the user stack.

use crate::{
    copy, emit,
    maps::{self, PROCESSES},
    tables::{self, Running},
    task::Task,
};
use aya_ebpf::programs::PerfEventContext;
use profiler_common::{
    limits::{FRAMES_PER_PROGRAM, MAX_TAIL_CALLS},
    outcome::UnwindStop,
    record::Scratch,
    unwind::{
        Cursor,
        place::{BY_CHANGES, ProcessEntry},
        step,
    },
};

#[cfg(bpf_target_arch = "aarch64")]
use profiler_common::unwind::arch::Aarch64 as Native;
#[cfg(bpf_target_arch = "x86_64")]
use profiler_common::unwind::arch::X86_64 as Native;

/// The body of one link: some frames, then the next link or the end.
#[inline(always)]
pub fn walk(ctx: &PerfEventContext) -> Option<u32> {
    let scratch = maps::scratch()?;
    let Some(process) = process(scratch) else {
        push(scratch);
        let stop = copy::copy(scratch);
        emit::emit(scratch, stop);
        return None;
    };
    let mut stop = UnwindStop::TooDeep;
    for _ in 0..FRAMES_PER_PROGRAM {
        push(scratch);
        if let Err(end) = take_step(scratch, process) {
            stop = end;
            break;
        }
    }
    if stop as u32 == UnwindStop::TooDeep as u32 {
        // SAFETY: this CPU's map value, written by nobody else while the program runs.
        let tail_calls = unsafe { (*scratch).tail_calls } + 1;
        if tail_calls < MAX_TAIL_CALLS {
            // SAFETY: as above.
            unsafe { (*scratch).tail_calls = tail_calls };
            maps::tail_call_walk(ctx);
        }
    }
    if stop as u32 == UnwindStop::Copied as u32 {
        stop = copy::copy(scratch);
    }
    emit::emit(scratch, stop);
    None
}

/// What is known of the sampled process and still holds.
#[inline(always)]
fn process(scratch: *const Scratch) -> Option<*const ProcessEntry> {
    // SAFETY: as in `walk`.
    if unsafe { (*scratch).outdated } != 0 { None } else { entry(scratch) }
}

/// What the agent told of the sampled process.
#[inline(always)]
fn entry(scratch: *const Scratch) -> Option<*const ProcessEntry> {
    // SAFETY: as in `walk`.
    let (tgid, start_ns) = unsafe { ((*scratch).header.tgid, (*scratch).header.start_ns) };
    let process = PROCESSES.get_ptr(&tgid)?;
    // SAFETY: a map value.
    if unsafe { (*process).start_ns } == start_ns { Some(process) } else { None }
}

/// Whether the mappings are others than those told. Not when the agent has had its chances: outdated rows are better
/// than no rows.
#[inline(always)]
pub fn is_outdated(scratch: *const Scratch, task: Task) -> bool {
    let Some(process) = entry(scratch) else { return false };
    // SAFETY: a map value.
    let stamp = unsafe { (*process).stamp };
    if stamp == 0 {
        return false;
    }
    let now = if stamp & BY_CHANGES == 0 { task.size_stamp() } else { task.changes_stamp() };
    now != Some(stamp) && copy::has_room(scratch)
}

/// Records the program counter as the next frame.
#[inline(always)]
fn push(scratch: *mut Scratch) {
    let index = copy::frames(scratch);
    // SAFETY: the masked index is in bounds.
    unsafe {
        let user = &raw mut (*scratch).header.user_frames;
        (&raw mut (*scratch).frames).cast::<u64>().add(index).write((*scratch).walk.cursor.frame());
        user.write_volatile(user.read_volatile() + 1);
    }
}

/// Goes to the caller's frame.
#[inline(always)]
fn take_step(scratch: *mut Scratch, process: *const ProcessEntry) -> Result<(), UnwindStop> {
    // SAFETY: as in `walk`.
    let cursor: Cursor = unsafe { (*scratch).walk.cursor };
    let rule = tables::rule(scratch, process, cursor.lookup_address())?;
    let caller = step::<Native>(cursor, rule, &Running(scratch))?;
    // SAFETY: as in `walk`.
    unsafe { (*scratch).walk.cursor = caller };
    Ok(())
}
