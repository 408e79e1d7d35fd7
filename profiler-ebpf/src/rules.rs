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

/// [`EXCLUDED`], or the slot of a rate: 0, that of all others, where nothing is said. A number and no `Option`: before 6.3 the
/// verifier refuses that the value of a `None` is copied along.
#[inline(always)]
pub fn of(task: Task) -> u32 {
    let mut rule = 0;
    if !control::switched(CGROUP_RULES) {
        return rule;
    }
    let mut cgroup = task.cgroup(setting!(container_hierarchy));
    for _ in 0..MAX_CGROUP_DEPTH {
        let Some(current) = cgroup else { break };
        // SAFETY: the agent replaces values as a whole.
        if let Some(found) = current.id().and_then(|id| unsafe { CGROUPS.get(&id) }) {
            rule = *found;
            break;
        }
        cgroup = current.parent();
    }
    rule
}

/// Whether a task is left out.
#[inline(always)]
pub fn excludes(task: Task) -> bool {
    of(task) == EXCLUDED
}
