//! Settings of the kernel program from the running kernel's types and cgroup hierarchies.

use super::btf::{Btf, BtfError};
use profiler_common::config::{Config, UNIFIED};

/// v1 controllers that container runtimes use, best first.
const CONTROLLERS: [&str; 5] = ["pids", "memory", "cpu", "cpuacct", "devices"];

/// THREAD_SIZE of kernels whose types do not tell: 16 KiB on x86_64 and on aarch64. The kernel program checks that
/// what it finds there are user registers.
const THREAD_BYTES: u32 = 16 << 10;

/// A [`Config`] without filters: offsets and the hierarchy that carries containers.
pub fn config(btf: &Btf, hierarchies: &Hierarchies) -> Result<Config, BtfError> {
    let user_regs = btf.size("thread_union").unwrap_or(THREAD_BYTES).saturating_sub(btf.size("pt_regs")?);
    Ok(Config {
        container_hierarchy: hierarchies.containers(btf),
        user_regs,
        // TOP_OF_KERNEL_STACK_PADDING with FRED.
        user_regs_padded: if cfg!(target_arch = "x86_64") { user_regs - 16 } else { user_regs },
        task_flags: btf.offset("task_struct", "flags")?,
        task_mm: btf.offset("task_struct", "mm")?,
        mm_exec_vm: btf.offset("mm_struct", "exec_vm")?,
        mm_lock_seq: btf.offset("mm_struct", "mm_lock_seq").unwrap_or(0),
        task_in_execve: btf.bit("task_struct", "in_execve").unwrap_or(0),
        task_pid: btf.offset("task_struct", "pid")?,
        task_tgid: btf.offset("task_struct", "tgid")?,
        task_group_leader: btf.offset("task_struct", "group_leader")?,
        task_start_boottime: btf
            .offset("task_struct", "start_boottime")
            .or_else(|_| btf.offset("task_struct", "real_start_time"))?,
        task_stack: btf.offset("task_struct", "stack")?,
        task_signal: btf.offset("task_struct", "signal")?,
        signal_live: btf.offset("signal_struct", "live")?,
        task_cgroups: btf.offset("task_struct", "cgroups")?,
        css_set_dfl_cgrp: btf.offset("css_set", "dfl_cgrp")?,
        css_set_subsys: btf.offset("css_set", "subsys")?,
        css_cgroup: btf.offset("cgroup_subsys_state", "cgroup")?,
        cgroup_parent: btf.offset("cgroup", "self.parent")?,
        cgroup_kn: btf.offset("cgroup", "kn")?,
        kernfs_id: btf.offset("kernfs_node", "id")?,
        task_thread_pointer: btf
            .offset("task_struct", if cfg!(target_arch = "x86_64") { "thread.fsbase" } else { "thread.uw.tp_value" })?,
        ..Config::EMPTY
    })
}

/// Mounted cgroup hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Mount points of v1 hierarchies with their controllers.
    pub v1: Vec<(String, Vec<String>)>,
    /// Mount point of the unified hierarchy.
    pub v2: Option<String>,
}

impl Hierarchies {
    /// From the text of `/proc/self/mountinfo`.
    #[must_use]
    pub fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) if found.v2.is_none() => found.v2 = Some(mount_point.into()),
                (Some("cgroup"), Some(options)) => {
                    found.v1.push((mount_point.into(), options.split(',').map(Into::into).collect()));
                }
                _ => {}
            }
        }
        found
    }

    /// The hierarchies mounted for this process.
    #[must_use]
    pub fn mounted() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// The controller that names the hierarchy carrying containers; none is the unified one.
    ///
    /// On a hybrid host containers live in v1: the unified tree there carries systemd's bookkeeping only.
    #[must_use]
    pub fn container_controller(&self) -> Option<&'static str> {
        CONTROLLERS.into_iter().find(|wanted| self.v1.iter().any(|(_, names)| names.iter().any(|name| name == wanted)))
    }

    /// Where the hierarchy that carries containers is mounted.
    #[must_use]
    pub fn container_mount(&self) -> Option<&str> {
        match self.container_controller() {
            Some(wanted) => {
                let has = |names: &[String]| names.iter().any(|name| name == wanted);
                self.v1.iter().find(|(_, names)| has(names)).map(|(mount, _)| mount.as_str())
            }
            None => self.v2.as_deref(),
        }
    }

    fn containers(&self, btf: &Btf) -> u32 {
        self.container_controller().map_or(UNIFIED, |controller| subsystem(btf, controller).unwrap_or(UNIFIED))
    }

    /// The hierarchy that a path lies in: a v1 controller, none for the unified one; an error text otherwise.
    pub fn of_path(&self, path: &str) -> Result<Option<&'static str>, String> {
        let inside = |mount: &str| path == mount || path.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'));
        let v1 = self.v1.iter().filter(|(mount, _)| inside(mount)).max_by_key(|(mount, _)| mount.len());
        if let Some((mount, names)) = v1
            && self.v2.as_ref().is_none_or(|v2| !inside(v2) || v2.len() < mount.len())
        {
            let known = ALL_CONTROLLERS.into_iter().find(|known| names.iter().any(|name| name == known));
            return known.map(Some).ok_or_else(|| format!("{path} lies in a cgroup hierarchy without a controller"));
        }
        match &self.v2 {
            Some(v2) if inside(v2) => Ok(None),
            _ => Err(format!("{path} is in no mounted cgroup hierarchy")),
        }
    }
}

const ALL_CONTROLLERS: [&str; 11] =
    ["pids", "memory", "cpu", "cpuacct", "devices", "cpuset", "blkio", "freezer", "net_cls", "perf_event", "hugetlb"];

/// Index of a v1 controller in `css_set.subsys`.
pub fn subsystem(btf: &Btf, controller: &str) -> Option<u32> {
    let name = if controller == "blkio" { "io" } else { controller };
    btf.enumerator(&format!("{name}_cgrp_id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/pids rw shared:2 - cgroup cgroup rw,pids
32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd
33 25 0:29 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 none rw
";

    #[test]
    fn containers_of_a_hybrid_host_live_in_v1() {
        let hierarchies = Hierarchies::parse(HYBRID);
        assert_eq!(hierarchies.container_controller(), Some("pids"));
        assert_eq!(hierarchies.container_mount(), Some("/sys/fs/cgroup/pids"));
        assert_eq!(hierarchies.of_path("/sys/fs/cgroup/unified/a"), Ok(None));
        assert_eq!(hierarchies.of_path("/sys/fs/cgroup/cpu/a"), Ok(Some("cpu")));
        assert!(hierarchies.of_path("/sys/fs/cgroup/systemd/a").is_err());
        assert!(hierarchies.of_path("/tmp").is_err());
    }

    #[test]
    fn containers_of_a_unified_host_live_in_v2() {
        let hierarchies = Hierarchies::parse("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(hierarchies.container_controller(), None);
        assert_eq!(hierarchies.container_mount(), Some("/sys/fs/cgroup"));
        assert_eq!(hierarchies.of_path("/sys/fs/cgroup/system.slice"), Ok(None));
    }
}
