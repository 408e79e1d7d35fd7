//! A firing: decide, identify, take the kernel stack and the user registers, start the walk.

use crate::{
    control, counters, emit, filter,
    maps::{self, setting},
    read, registers,
    task::Task,
    walk,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns,
    },
    programs::PerfEventContext,
};
use profiler_common::{
    config::KERNEL_STACKS,
    control::Rate,
    limits::{COMM_BYTES, MAX_KERNEL_FRAMES},
    outcome::{Outcome, UnwindStop, counter},
    record::{EPOCH_SHIFT, IN_KERNEL, KERNEL_THREAD, SAMPLE, Scratch},
};

/// The body of the perf event program.
#[inline(always)]
pub fn sample(ctx: &PerfEventContext) -> Option<u32> {
    // SAFETY: no argument.
    let id = unsafe { bpf_get_current_pid_tgid() };
    let tgid = (id >> 32) as u32;
    let task = Task::current();
    if tgid == 0 {
        return None;
    }
    let scratch = maps::scratch()?;
    let rate = control::rate(scratch, task, tgid)?;
    if !filter::allows(task, tgid) {
        return None;
    }
    // SAFETY: no argument.
    let entered_ns = unsafe { bpf_ktime_get_ns() };
    counters::add(counter::ENTERED, 1);
    let user_mode = registers::hit_user_mode(ctx);
    begin(scratch, task, id, entered_ns, rate);
    if !user_mode {
        take_kernel_stack(ctx, scratch);
    }
    let stop = take_user_registers(ctx, scratch, task, user_mode);
    if stop.is_none() {
        // SAFETY: as in `begin`.
        unsafe { (*scratch).outdated = u64::from(walk::is_outdated(scratch, task)) };
        maps::tail_call_walk(ctx);
        emit::end(scratch, Outcome::TailCall);
        return None;
    }
    emit::emit(scratch, stop?);
    None
}

/// Fills in who and when. Volatile: LLVM makes adjacent zero stores a call of memset.
#[inline(always)]
fn begin(scratch: *mut Scratch, task: Task, id: u64, entered_ns: u64, rate: Rate) {
    // SAFETY: `scratch` is this CPU's map value, written by nobody else while the program runs.
    unsafe {
        (&raw mut (*scratch).entered_ns).write_volatile(entered_ns);
        (&raw mut (*scratch).task).write_volatile(task.0);
        (&raw mut (*scratch).tail_calls).write_volatile(0);
        (&raw mut (*scratch).mapping.end).write_volatile(0);
        let header = &raw mut (*scratch).header;
        (&raw mut (*header).kind).write_volatile(SAMPLE);
        (&raw mut (*header).cpu).write_volatile(bpf_get_smp_processor_id());
        (&raw mut (*header).time_ns).write_volatile(entered_ns);
        (&raw mut (*header).tgid).write_volatile((id >> 32) as u32);
        (&raw mut (*header).tid).write_volatile(id as u32);
        (&raw mut (*header).start_ns).write_volatile(task.process_start_ns().unwrap_or(0));
        let cgroup = task.cgroup(setting!(container_hierarchy)).and_then(|cgroup| cgroup.id());
        (&raw mut (*header).cgroup_id).write_volatile(cgroup.unwrap_or(0));
        (&raw mut (*header).kernel_frames).write_volatile(0);
        (&raw mut (*header).user_frames).write_volatile(0);
        (&raw mut (*header).stack_bytes).write_volatile(0);
        let flags = if task.is_kernel_thread() { KERNEL_THREAD } else { 0 };
        (&raw mut (*header).flags).write_volatile(flags | rate.epoch << EPOCH_SHIFT);
        (&raw mut (*header).period_ns).write_volatile(rate.period_ns);
        bpf_get_current_comm((&raw mut (*header).comm).cast(), COMM_BYTES as u32);
    }
}

#[inline(always)]
fn take_kernel_stack(ctx: &PerfEventContext, scratch: *mut Scratch) {
    // SAFETY: the helper writes at most the given size, which the frames hold.
    unsafe {
        (*scratch).header.flags |= IN_KERNEL;
        if setting!(flags) & KERNEL_STACKS == 0 {
            return;
        }
        let frames = (&raw mut (*scratch).frames).cast();
        let bytes = bpf_get_stack(ctx.as_ptr(), frames, (MAX_KERNEL_FRAMES * 8) as u32, 0);
        if bytes > 0 {
            (*scratch).header.kernel_frames = (bytes as u32) >> 3;
        }
    }
}

/// Sets where the walk starts; says why there is none.
#[inline(always)]
fn take_user_registers(
    ctx: &PerfEventContext,
    scratch: *mut Scratch,
    task: Task,
    user_mode: bool,
) -> Option<UnwindStop> {
    // SAFETY: as in `begin`.
    if unsafe { (*scratch).header.flags } & KERNEL_THREAD != 0 || !task.has_memory() {
        return Some(UnwindStop::NoUserStack);
    }
    // SAFETY: as in `begin`.
    let walk = unsafe { &raw mut (*scratch).walk };
    if !registers::take(ctx, task, user_mode, walk) {
        return Some(UnwindStop::NoRegisters);
    }
    // SAFETY: as in `begin`.
    let sp = unsafe { (*walk).cursor.sp };
    // The registers are those of the executable before, whose memory is gone.
    let is_replaced = !user_mode && task.is_in_execve() && read::user::<u64>(sp).is_none();
    if is_replaced { Some(UnwindStop::NoUserStack) } else { None }
}
