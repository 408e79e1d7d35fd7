//! `--pid` and `--cgroup`: what is left out costs one look-up and is not counted.

use crate::{
    maps::{FILTER, setting},
    task::Task,
};
use profiler_common::{
    config::{FILTER_CGROUP, FILTER_PIDS},
    limits::MAX_CGROUP_DEPTH,
};

/// Whether the process may be sampled.
#[inline(always)]
pub fn allows(task: Task, tgid: u32) -> bool {
    let flags = setting!(flags);
    allows_pid(tgid) && (flags & FILTER_CGROUP == 0 || in_cgroup(task))
}

/// The pid half of [`allows`].
#[inline(always)]
pub fn allows_pid(tgid: u32) -> bool {
    setting!(flags) & FILTER_PIDS == 0 || FILTER.get_ptr(&tgid).is_some()
}

#[inline(always)]
fn in_cgroup(task: Task) -> bool {
    let wanted = setting!(filter_cgroup);
    let mut cgroup = task.cgroup(setting!(filter_hierarchy));
    for _ in 0..MAX_CGROUP_DEPTH {
        let Some(current) = cgroup else { return false };
        if current.id() == Some(wanted) {
            return true;
        }
        cgroup = current.parent();
    }
    false
}
