//! What is said of cgroups: the innermost one around a task that has a rule counts.

use crate::{
    control,
    maps::{CGROUPS, setting},
    task::Task,
};
use profiler_common::{
    control::{CGROUP_RULES, EXCLUDED},
    limits::MAX_CGROUP_DEPTH,
};

/// [`EXCLUDED`], or the slot of a rate; none where nothing is said.
#[inline(always)]
pub fn of(task: Task) -> Option<u32> {
    if !control::switched(CGROUP_RULES) {
        return None;
    }
    let mut cgroup = task.cgroup(setting!(container_hierarchy));
    for _ in 0..MAX_CGROUP_DEPTH {
        let current = cgroup?;
        // SAFETY: the agent replaces values as a whole.
        if let Some(rule) = current.id().and_then(|id| unsafe { CGROUPS.get(&id) }) {
            return Some(*rule);
        }
        cgroup = current.parent();
    }
    None
}

/// Whether a task is left out.
#[inline(always)]
pub fn excludes(task: Task) -> bool {
    of(task) == Some(EXCLUDED)
}
