//! The stack of a task whose mappings have no tables yet goes up to the agent, with the registers the walk came to.

use crate::{maps::SEEN, task::Task};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use core::ffi::c_void;
use profiler_common::{
    limits::{FRAME_SLOTS, MAX_COPIES_PER_CPU, MAX_COPIES_PER_PROCESS, MAX_STACK_BYTES, RED_ZONE_BYTES},
    outcome::UnwindStop,
    record::{Scratch, Seen, StackHead},
};

const PAGE: u64 = 4096;
/// The page that the stack pointer is in, and the ones above it.
const PAGES: usize = MAX_STACK_BYTES / PAGE as usize;

/// Copies registers and stack behind the frames; says how the walk in the kernel ends.
#[inline(always)]
pub fn copy(scratch: *mut Scratch) -> UnwindStop {
    if !within_limits(scratch) {
        return UnwindStop::CopyLimit;
    }
    // SAFETY: this CPU's map value, written by nobody else while the program runs.
    let start = lowest(unsafe { (*scratch).walk.cursor.sp });
    // SAFETY: as above.
    unsafe {
        let task = Task((*scratch).task);
        (*scratch).walk.stack_start = start;
        (*scratch).walk.stamps.size = task.size_stamp().unwrap_or(0);
        (*scratch).walk.stamps.changes = task.changes_stamp().unwrap_or(0);
    }
    let frames = frames(scratch);
    // SAFETY: slots for a head and a stack follow wherever the frames end.
    let head = unsafe { (&raw mut (*scratch).frames).cast::<u64>().add(frames) };
    // SAFETY: as above; the helper copies within the record.
    let status = unsafe {
        let walk = &raw const (*scratch).walk;
        bpf_probe_read_kernel(head.cast(), size_of::<StackHead>() as u32, walk.cast())
    };
    if status != 0 {
        return UnwindStop::BadMemory;
    }
    // SAFETY: as above.
    let bytes = copy_pages(unsafe { head.cast::<u8>().add(size_of::<StackHead>()) }, start);
    if bytes == 0 {
        return UnwindStop::BadMemory;
    }
    // SAFETY: as above.
    unsafe { (*scratch).header.stack_bytes = bytes };
    UnwindStop::Copied
}

/// Where the copy begins: as far below the stack pointer as a rule may look, but in the same page, as the one below may
/// not be there.
#[inline(always)]
fn lowest(sp: u64) -> u64 {
    let page = sp & !(PAGE - 1);
    let below = sp.wrapping_sub(RED_ZONE_BYTES) & !7;
    if below < page { page } else { below }
}

/// Frames taken so far; masked so that what follows stays in the record.
#[inline(always)]
pub fn frames(scratch: *const Scratch) -> usize {
    // SAFETY: as in `copy`. Volatile keeps the mask: LLVM drops it where a range is known.
    let (kernel, user) = unsafe {
        let header = &raw const (*scratch).header;
        ((&raw const (*header).kernel_frames).read_volatile(), (&raw const (*header).user_frames).read_volatile())
    };
    (kernel + user) as usize & (FRAME_SLOTS - 1)
}

/// Copies up to the first page that cannot be read; the number of bytes.
#[inline(always)]
fn copy_pages(to: *mut u8, start: u64) -> u32 {
    let first = PAGE - (start & (PAGE - 1));
    // SAFETY: `to` has room for all pages.
    let status = unsafe { bpf_probe_read_user(to.cast(), first as u32, start as *const c_void) };
    if status != 0 {
        return 0;
    }
    let mut copied = first;
    for page in 0..PAGES - 1 {
        let at = first + PAGE * page as u64;
        // SAFETY: as above.
        let status = unsafe {
            bpf_probe_read_user(to.add(at as usize).cast(), PAGE as u32, start.wrapping_add(at) as *const c_void)
        };
        if status != 0 {
            break;
        }
        copied = at + PAGE;
    }
    copied as u32
}

/// Whether a stack may be copied although the walk could go on: half of what [`copy`] may.
#[inline(always)]
pub fn has_room(scratch: *const Scratch) -> bool {
    // SAFETY: as in `copy`.
    let second = unsafe { (*scratch).entered_ns } / 1_000_000_000;
    // SAFETY: as above.
    if unsafe { (*scratch).copied_second == second && (*scratch).copies >= MAX_COPIES_PER_CPU / 2 } {
        return false;
    }
    let Some(seen) = SEEN.get_ptr(&process(scratch)) else { return true };
    // SAFETY: a map value.
    unsafe { (*seen).second != second as u32 || (*seen).copies < MAX_COPIES_PER_PROCESS / 2 }
}

/// Whether this process and this CPU may copy another stack in this second.
#[inline(always)]
fn within_limits(scratch: *mut Scratch) -> bool {
    // SAFETY: as in `copy`.
    let second = unsafe { (*scratch).entered_ns } / 1_000_000_000;
    // SAFETY: as above.
    unsafe {
        if (*scratch).copied_second != second {
            (*scratch).copied_second = second;
            (*scratch).copies = 0;
        }
        (*scratch).copies += 1;
        if (*scratch).copies > MAX_COPIES_PER_CPU {
            return false;
        }
    }
    let Some(seen) = SEEN.get_ptr_mut(&process(scratch)) else { return true };
    // SAFETY: a map value. CPUs may race: the limit is then missed by a few.
    unsafe {
        if (*seen).second != second as u32 {
            (*seen).second = second as u32;
            (*seen).copies = 0;
        }
        (*seen).copies += 1;
        (*seen).copies <= MAX_COPIES_PER_PROCESS
    }
}

/// Key of the sampled process in [`SEEN`].
#[inline(always)]
pub fn process(scratch: *const Scratch) -> u64 {
    // SAFETY: as in `copy`.
    unsafe { key((*scratch).header.start_ns, (*scratch).header.tgid) }
}

/// Key of a process in [`SEEN`].
#[inline(always)]
pub fn key(start_ns: u64, tgid: u32) -> u64 {
    start_ns ^ (u64::from(tgid) << 32)
}

/// A process without an entry.
pub const NEW: Seen = Seen { second: 0, copies: 0 };
