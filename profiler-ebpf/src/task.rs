//! Facts of a task, read at the offsets of [`Config`](profiler_common::config::Config).

use crate::{maps::setting, read};
use profiler_common::{
    config::UNIFIED,
    unwind::place::{BY_CHANGES, BY_SIZE, Stamp},
};

/// `PF_KTHREAD`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Address of a `task_struct`.
#[derive(Clone, Copy)]
pub struct Task(pub u64);

impl Task {
    /// The running task.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: no argument.
        Self(unsafe { aya_ebpf::helpers::generated::bpf_get_current_task() })
    }

    #[inline(always)]
    pub fn tgid(self) -> Option<u32> {
        read::kernel(self.0 + u64::from(setting!(task_tgid)))
    }

    #[inline(always)]
    pub fn pid(self) -> Option<u32> {
        read::kernel(self.0 + u64::from(setting!(task_pid)))
    }

    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        read::kernel::<u32>(self.0 + u64::from(setting!(task_flags))).is_some_and(|flags| flags & KERNEL_THREAD != 0)
    }

    /// Whether it has user memory: no kernel thread does, and no task that gave its memory back on its way out.
    #[inline(always)]
    pub fn has_memory(self) -> bool {
        read::kernel::<u64>(self.0 + u64::from(setting!(task_mm))) != Some(0)
    }

    /// Whether it is on its way to a new executable.
    #[inline(always)]
    pub fn is_in_execve(self) -> bool {
        let bits = setting!(task_in_execve);
        let byte = read::kernel::<u8>(self.0 + u64::from(bits / 8));
        bits != 0 && byte.is_some_and(|byte| byte >> (bits % 8) & 1 != 0)
    }

    /// Executable pages of its memory, as a [`Stamp`].
    #[inline(always)]
    pub fn size_stamp(self) -> Option<Stamp> {
        let memory: u64 = read::kernel(self.0 + u64::from(setting!(task_mm)))?;
        Some(read::kernel::<u64>(memory + u64::from(setting!(mm_exec_vm)))? | BY_SIZE)
    }

    /// Changes of its memory, as a [`Stamp`]; none where the kernel does not count them.
    #[inline(always)]
    pub fn changes_stamp(self) -> Option<Stamp> {
        let offset = setting!(mm_lock_seq);
        if offset == 0 {
            return None;
        }
        let memory: u64 = read::kernel(self.0 + u64::from(setting!(task_mm)))?;
        Some(u64::from(read::kernel::<u32>(memory + u64::from(offset))?) | BY_CHANGES)
    }

    /// Start time of the process, nanoseconds of CLOCK_BOOTTIME.
    #[inline(always)]
    pub fn process_start_ns(self) -> Option<u64> {
        let leader: u64 = read::kernel(self.0 + u64::from(setting!(task_group_leader)))?;
        read::kernel(leader + u64::from(setting!(task_start_boottime)))
    }

    /// Base of the thread's local storage, as user code sees it.
    #[inline(always)]
    pub fn thread_pointer(self) -> Option<u64> {
        read::kernel(self.0 + u64::from(setting!(task_thread_pointer)))
    }

    /// Whether no thread of the process lives any more (`signal->live`, already lowered by this task's exit).
    #[inline(always)]
    pub fn process_is_dead(self) -> bool {
        let live = read::kernel::<u64>(self.0 + u64::from(setting!(task_signal)))
            .and_then(|signal| read::kernel::<i32>(signal + u64::from(setting!(signal_live))));
        live.is_none_or(|threads| threads <= 0)
    }

    /// Address of the task's cgroup in a hierarchy: v1 controller index or `UNIFIED`.
    #[inline(always)]
    pub fn cgroup(self, hierarchy: u32) -> Option<Cgroup> {
        let set: u64 = read::kernel(self.0 + u64::from(setting!(task_cgroups)))?;
        if hierarchy == UNIFIED {
            return read::kernel(set + u64::from(setting!(css_set_dfl_cgrp))).map(Cgroup);
        }
        let state: u64 = read::kernel(set + u64::from(setting!(css_set_subsys)) + 8 * u64::from(hierarchy))?;
        read::kernel(state + u64::from(setting!(css_cgroup))).map(Cgroup)
    }
}

/// Address of a `struct cgroup`.
#[derive(Clone, Copy)]
pub struct Cgroup(u64);

impl Cgroup {
    /// kernfs id: the inode number of its folder.
    #[inline(always)]
    pub fn id(self) -> Option<u64> {
        let node: u64 = read::kernel(self.0 + u64::from(setting!(cgroup_kn)))?;
        read::kernel(node + u64::from(setting!(kernfs_id)))
    }

    #[inline(always)]
    pub fn parent(self) -> Option<Self> {
        let state: u64 = read::kernel(self.0 + u64::from(setting!(cgroup_parent)))?;
        if state == 0 {
            return None;
        }
        read::kernel(state + u64::from(setting!(css_cgroup))).map(Self)
    }
}
