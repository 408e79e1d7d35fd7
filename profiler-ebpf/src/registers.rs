//! The user-mode registers of the running task: from the perf context when the sample hit user mode, else from
//! where the kernel saved them on entry, at the top of the task's kernel stack.

use crate::{maps::setting, read, task::Task};
use aya_ebpf::{bindings::bpf_perf_event_data, programs::PerfEventContext};

/// What a stack walk starts from.
#[derive(Clone, Copy)]
pub struct Registers {
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
}

/// Layout of `struct pt_regs` in 8-byte slots; part of the kernel's user ABI.
#[cfg(bpf_target_arch = "x86_64")]
mod layout {
    pub const FP: usize = 4;
    pub const PC: usize = 16;
    /// Code segment: its low two bits are the privilege level.
    pub const MODE: usize = 17;
    pub const SP: usize = 19;

    /// User code segment selectors are small and have privilege level 3.
    #[inline(always)]
    pub fn is_user(mode: u64) -> bool {
        mode & 3 == 3 && mode < 0x1_0000
    }
}

/// Layout of `struct user_pt_regs` in 8-byte slots; part of the kernel's user ABI.
#[cfg(bpf_target_arch = "aarch64")]
mod layout {
    pub const FP: usize = 29;
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

/// The user-mode registers of a task that is no kernel thread.
#[inline(always)]
pub fn user(ctx: &PerfEventContext, task: Task, user_mode: bool) -> Option<Registers> {
    if user_mode {
        return Some(Registers { pc: slot(ctx, layout::PC), sp: slot(ctx, layout::SP), fp: slot(ctx, layout::FP) });
    }
    let stack: u64 = read::kernel(task.0 + u64::from(setting!(task_stack)))?;
    saved(stack + u64::from(setting!(user_regs))).or_else(|| saved(stack + u64::from(setting!(user_regs_padded))))
}

#[inline(always)]
fn slot(ctx: &PerfEventContext, index: usize) -> u64 {
    let data: *const bpf_perf_event_data = ctx.ctx;
    // SAFETY: the context begins with the registers, and `index` is one of theirs.
    unsafe { core::ptr::read_volatile(data.cast::<u64>().add(index)) }
}

#[inline(always)]
fn saved(base: u64) -> Option<Registers> {
    let at = |index: usize| read::kernel::<u64>(base + 8 * index as u64);
    if !layout::is_user(at(layout::MODE)?) {
        return None;
    }
    Some(Registers { pc: at(layout::PC)?, sp: at(layout::SP)?, fp: at(layout::FP)? })
}
