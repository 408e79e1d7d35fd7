//! Which cgroup hierarchy carries containers.

use super::host::Host;
use super::report::Check;
use crate::bpf::offsets::Hierarchies;

pub(super) fn layout(host: &Host) -> Check {
    let name = "cgroups";
    let hierarchies = Hierarchies::parse(&host.read("proc/self/mountinfo").unwrap_or_default());
    match (hierarchies.container_controller(), &hierarchies.v2) {
        (Some(controller), Some(_)) => Check::pass(name, format!("hybrid; containers are in v1 {controller}")),
        (Some(controller), None) => Check::pass(name, format!("v1; containers are in {controller}")),
        (None, Some(mount)) => Check::pass(name, format!("v2 at {mount}")),
        (None, None) => Check::warn(
            name,
            "no hierarchy is mounted: containers cannot be told apart",
            "mount the host's /sys/fs/cgroup",
        ),
    }
}
