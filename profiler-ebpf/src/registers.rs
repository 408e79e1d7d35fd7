//! The user-mode registers of the running task: from the perf context when the sample hit user mode, else from
//! where the kernel saved them on entry, at the top of the task's kernel stack.

use crate::{maps::setting, read, task::Task};
use aya_ebpf::{bindings::bpf_perf_event_data, helpers::generated::bpf_probe_read_kernel, programs::PerfEventContext};
use core::ffi::c_void;
use profiler_common::{
    record::StackHead,
    unwind::step::{EXACT, INNERMOST},
};

/// Layout of `struct pt_regs` in 8-byte slots; part of the kernel's user ABI.
#[cfg(bpf_target_arch = "x86_64")]
mod layout {
    pub const SLOTS: usize = 21;
    pub const FP: usize = 4;
    pub const PC: usize = 16;
    /// Code segment: its low two bits are the privilege level.
    pub const MODE: usize = 17;
    pub const SP: usize = 19;
    /// There is no link register; any slot will do.
    pub const LINK: usize = 0;

    /// User code segment selectors are small and have privilege level 3.
    #[inline(always)]
    pub fn is_user(mode: u64) -> bool {
        mode & 3 == 3 && mode < 0x1_0000
    }
}

/// Layout of `struct user_pt_regs` in 8-byte slots; part of the kernel's user ABI.
#[cfg(bpf_target_arch = "aarch64")]
mod layout {
    pub const SLOTS: usize = 34;
    pub const FP: usize = 29;
    pub const LINK: usize = 30;
    pub const SP: usize = 31;
    pub const PC: usize = 32;
    /// PSTATE: mode 0 is EL0.
    pub const MODE: usize = 33;

    #[inline(always)]
    pub fn is_user(mode: u64) -> bool {
        mode & 0xf == 0
    }
}

/// Whether the sample hit user mode.
#[inline(always)]
pub fn hit_user_mode(ctx: &PerfEventContext) -> bool {
    layout::is_user(slot(ctx, layout::MODE))
}

/// Sets where the walk of a task that is no kernel thread begins; false when its registers cannot be read.
#[inline(always)]
pub fn take(ctx: &PerfEventContext, task: Task, user_mode: bool, walk: *mut StackHead) -> bool {
    if user_mode {
        copy_context(ctx, walk);
    } else if !copy_saved(task, walk) {
        return false;
    }
    // SAFETY: `walk` lies in this CPU's scratch record, written by nobody else while the program runs.
    unsafe {
        let registers = (&raw const (*walk).registers).cast::<u64>();
        let cursor = &raw mut (*walk).cursor;
        (*cursor).pc = *registers.add(layout::PC);
        (*cursor).sp = *registers.add(layout::SP);
        (*cursor).fp = *registers.add(layout::FP);
        (*cursor).link = *registers.add(layout::LINK);
        (*cursor).flags = EXACT | INNERMOST;
    }
    true
}

/// The verifier takes constant offsets into the context only: one load a slot.
#[inline(always)]
fn copy_context(ctx: &PerfEventContext, walk: *mut StackHead) {
    macro_rules! copy {
        ($($index:literal)*) => {
            $(if $index < layout::SLOTS {
                // SAFETY: the index is in bounds, see `take`.
                unsafe { (&raw mut (*walk).registers).cast::<u64>().add($index).write_volatile(slot(ctx, $index)) };
            })*
        };
    }
    copy!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33);
}

/// From the kernel stack: at its top, or below the padding of kernels with FRED.
#[inline(always)]
fn copy_saved(task: Task, walk: *mut StackHead) -> bool {
    let Some(stack) = read::kernel::<u64>(task.0 + u64::from(setting!(task_stack))) else { return false };
    copy_saved_at(stack + u64::from(setting!(user_regs)), walk)
        || copy_saved_at(stack + u64::from(setting!(user_regs_padded)), walk)
}

#[inline(always)]
fn copy_saved_at(base: u64, walk: *mut StackHead) -> bool {
    // SAFETY: the helper writes the slots of one `pt_regs` or fails; see `take`.
    unsafe {
        let registers = (&raw mut (*walk).registers).cast::<u64>();
        let status = bpf_probe_read_kernel(registers.cast(), (8 * layout::SLOTS) as u32, base as *const c_void);
        status == 0 && layout::is_user(*registers.add(layout::MODE))
    }
}

#[inline(always)]
fn slot(ctx: &PerfEventContext, index: usize) -> u64 {
    let data: *const bpf_perf_event_data = ctx.ctx;
    // SAFETY: the context begins with the registers, and `index` is one of theirs.
    unsafe { core::ptr::read_volatile(data.cast::<u64>().add(index)) }
}
