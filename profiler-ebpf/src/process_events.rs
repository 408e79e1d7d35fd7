//! Fork and exit of processes (not of threads), in the clock and the ring buffer of the samples. Exec and mmap come
//! through perf's side band, unless that is off: the exec tracepoint fires after the new image is mapped. It is in time for
//! forgetting the mappings of the old one. A child has the mappings of its parent at first, and is known as far as that is.

use crate::{
    control, copy, counters, filter,
    maps::{EVENTS, FILTER, PROCESSES, RATES, SEEN, setting},
    rules,
    task::Task,
};
use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_ringbuf_output},
    programs::RawTracePointContext,
};
use profiler_common::{
    config::{FILTER_PIDS, FOLLOW_FORKS, PROCESS_RATES},
    control::{REPORT_EXECS, SHED_EVENTS},
    outcome::counter,
    record::{EXEC, EXIT, FORK, ProcessEvent},
    unwind::place::{BY_CHANGES, Place, ProcessEntry},
};

/// Runs a body and adds the time it took to what process events took.
#[inline(always)]
pub fn timed(body: impl FnOnce() -> Option<i32>) -> i32 {
    // SAFETY: no argument.
    let started_ns = unsafe { bpf_ktime_get_ns() };
    let result = body();
    // SAFETY: no argument.
    counters::add(counter::EVENT_RUN_NS, unsafe { bpf_ktime_get_ns() }.wrapping_sub(started_ns));
    result.unwrap_or(0)
}

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`.
#[inline(always)]
pub fn fork(ctx: &RawTracePointContext) -> Option<i32> {
    let (parent, child) = (Task(ctx.arg::<u64>(0)), Task(ctx.arg::<u64>(1)));
    let tgid = child.tgid()?;
    if tgid != child.pid()? || is_left_out() {
        return None;
    }
    let parent_tgid = parent.tgid()?;
    if !filter::allows_pid(parent_tgid) {
        return None;
    }
    if setting!(flags) & (FILTER_PIDS | FOLLOW_FORKS) == FILTER_PIDS | FOLLOW_FORKS
        && FILTER.insert(&tgid, &1, 0).is_err()
    {
        counters::add(counter::FILTER_FULL, 1);
    }
    if rules::excludes(child) || is_shed() {
        return None;
    }
    let known = known(parent, parent_tgid);
    let branches = known.map_or(0, |entry| entry.branches);
    submit(
        ctx,
        FORK,
        child,
        tgid,
        Parent { tgid: parent_tgid, start_ns: parent.process_start_ns().unwrap_or(0), branches },
    )?;
    if let (Some(entry), Some(start_ns)) = (known, child.process_start_ns()) {
        let _ = PROCESSES.insert(&tgid, &ProcessEntry { start_ns, ..entry }, 0);
    }
    None
}

/// Whether nothing at all is done for the event at hand: the filter has to follow processes whoever wants to hear of them.
/// What maps say of a process that has ended is told from its successor's by the start time, and goes by the maps' own ways.
#[inline(always)]
fn is_left_out() -> bool {
    setting!(flags) & FILTER_PIDS == 0 && is_shed()
}

/// Whether the agent wants to hear of no event; counts the one at hand.
#[inline(always)]
fn is_shed() -> bool {
    let shed = control::switched(SHED_EVENTS);
    if shed {
        counters::add(counter::EVENTS_SHED, 1);
    }
    shed
}

/// What is known of a living process's mappings.
#[inline(always)]
fn known(task: Task, tgid: u32) -> Option<ProcessEntry> {
    // SAFETY: the agent replaces entries as a whole.
    let entry = unsafe { PROCESSES.get(&tgid) }?;
    // Changes of the child's memory are counted anew.
    let same = Some(entry.start_ns) == task.process_start_ns() && entry.stamp & BY_CHANGES == 0;
    if same { Some(*entry) } else { None }
}

/// `TP_PROTO(struct task_struct *p, …)`; fires for each thread, the last one counts.
#[inline(always)]
pub fn exit(ctx: &RawTracePointContext) -> Option<i32> {
    let task = Task(ctx.arg::<u64>(0));
    if !task.process_is_dead() || is_left_out() {
        return None;
    }
    let tgid = task.tgid()?;
    if !filter::allows_pid(tgid) {
        return None;
    }
    if setting!(flags) & FILTER_PIDS != 0 {
        // Whoever has the pid next was not asked for.
        let _ = FILTER.remove(&tgid);
    }
    let _ = PROCESSES.remove(&tgid);
    if let Some(start_ns) = task.process_start_ns() {
        let _ = SEEN.remove(&copy::key(start_ns, tgid));
    }
    if setting!(flags) & PROCESS_RATES != 0 {
        let _ = RATES.remove(&tgid);
    }
    if rules::excludes(task) || is_shed() {
        return None;
    }
    submit(ctx, EXIT, task, tgid, Parent::NONE);
    None
}

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[inline(always)]
pub fn exec(ctx: &RawTracePointContext) -> Option<i32> {
    let task = Task(ctx.arg::<u64>(0));
    let tgid = task.tgid()?;
    let _ = PROCESSES.remove(&tgid);
    if control::switched(REPORT_EXECS) {
        SEEN.get_ptr(&copy::key(task.process_start_ns()?, tgid))?;
        submit(ctx, EXEC, task, tgid, Parent::NONE);
    }
    None
}

/// What an event says of the parent.
struct Parent {
    tgid: u32,
    start_ns: u64,
    branches: Place,
}

impl Parent {
    const NONE: Self = Self { tgid: 0, start_ns: 0, branches: 0 };
}

/// None when the event is lost.
#[inline(always)]
fn submit(ctx: &RawTracePointContext, kind: u32, task: Task, tgid: u32, parent: Parent) -> Option<()> {
    let event = ProcessEvent {
        kind,
        // SAFETY: no argument.
        cpu: unsafe { bpf_get_smp_processor_id() },
        // SAFETY: no argument.
        time_ns: unsafe { bpf_ktime_get_ns() },
        start_ns: task.process_start_ns()?,
        parent_start_ns: parent.start_ns,
        tgid,
        parent_tgid: parent.tgid,
        branches: parent.branches,
        padding: 0,
    };
    // SAFETY: the helper reads exactly the event. Flag 1 is BPF_RB_NO_WAKEUP.
    let status = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw const event).cast_mut().cast(),
            size_of::<ProcessEvent>() as u64,
            1,
        )
    };
    if status != 0 {
        counters::add(counter::EVENTS_LOST, 1);
        aya_log_ebpf::debug!(ctx, "ring buffer full, process event lost: error {}", status);
        return None;
    }
    Some(())
}
