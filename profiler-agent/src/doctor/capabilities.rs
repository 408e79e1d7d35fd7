//! Capabilities of this process: bits of `CapEff` in `/proc/self/status`, include/uapi/linux/capability.h.

use super::host::Host;
use super::report::{Check, Status};

const DAC_OVERRIDE: u32 = 1;
pub(super) const DAC_READ_SEARCH: u32 = 2;
pub(super) const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;
pub(super) const CHECKPOINT_RESTORE: u32 = 40;

/// First kernel that charges BPF memory to the cgroup instead of RLIMIT_MEMLOCK.
const NO_MEMLOCK_SINCE: (u32, u32) = (5, 11);

/// A set of capabilities.
#[derive(Clone, Copy)]
pub(super) struct Capabilities(u64);

impl Capabilities {
    pub(super) fn has(self, capability: u32) -> bool {
        self.0 & 1 << capability != 0
    }

    /// Names of those without any of the capabilities that grant the same.
    fn missing(self, table: &[(&'static str, &[u32])]) -> Vec<&'static str> {
        let lacks = |(_, any): &&(&'static str, &[u32])| !any.iter().any(|&capability| self.has(capability));
        table.iter().filter(lacks).map(|(name, _)| *name).collect()
    }
}

/// What this process may do; nothing when `/proc` does not say.
pub(super) fn effective(host: &Host) -> Capabilities {
    let status = host.read("proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    Capabilities(bits.unwrap_or(0))
}

/// Without these there are no samples, or no names for the processes of others.
const NEEDED: [(&str, &[u32]); 4] = [
    ("CAP_BPF", &[BPF, SYS_ADMIN]),
    ("CAP_PERFMON", &[PERFMON, SYS_ADMIN]),
    ("CAP_SYS_PTRACE", &[SYS_PTRACE]),
    ("CAP_DAC_READ_SEARCH", &[DAC_READ_SEARCH, DAC_OVERRIDE]),
];

/// Without these some names are missing.
const WANTED: [(&str, &[u32]); 2] =
    [("CAP_SYSLOG", &[SYSLOG]), ("CAP_CHECKPOINT_RESTORE", &[CHECKPOINT_RESTORE, SYS_ADMIN])];

pub(super) fn needed(host: &Host) -> Check {
    let name = "capabilities";
    if !host.in_initial_user_namespace() {
        let found = "this process is in a user namespace of its own: its capabilities do not count on the host";
        return Check::fail(name, found, "start it outside: no rootless container, no hostUsers: false");
    }
    match effective(host).missing(&NEEDED) {
        missing if missing.is_empty() => Check::pass(name, NEEDED.map(|(name, _)| name).join(", ")),
        missing => {
            Check { name, status: Status::Fail, found: format!("missing {}", missing.join(", ")), fixes: grants() }
        }
    }
}

/// Capabilities that reading other processes and their files takes, and this process lacks.
pub(super) fn missing_for_reading(host: &Host) -> Vec<&'static str> {
    let reading = [NEEDED[2], NEEDED[3], WANTED[1]];
    effective(host).missing(&reading)
}

/// Ways to grant all capabilities, for a shell, for good and for Kubernetes.
pub(super) fn grants() -> Vec<String> {
    let program = std::env::current_exe().map_or("profiler-agent".into(), |path| path.display().to_string());
    vec![
        format!("sudo {program} …"),
        format!(
            "sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog,cap_checkpoint_restore+ep {program}"
        ),
        "Kubernetes: securityContext: {runAsUser: 0, capabilities: {drop: [ALL], add: [BPF, PERFMON, SYS_PTRACE, \
         DAC_READ_SEARCH, SYSLOG, CHECKPOINT_RESTORE]}}"
            .into(),
    ]
}

pub(super) fn wanted(host: &Host) -> Check {
    let name = "more names";
    match effective(host).missing(&WANTED) {
        missing if missing.is_empty() => Check::pass(name, WANTED.map(|(name, _)| name).join(", ")),
        missing => {
            let lost = |capability: &&str| match *capability {
                "CAP_SYSLOG" => "kernel functions",
                _ => "deleted libraries",
            };
            let lost: Vec<&str> = missing.iter().map(lost).collect();
            let found = format!("missing {}: no names for {}", missing.join(", "), lost.join(" and "));
            Check::warn(name, found, "grant them as CAP_BPF is granted")
        }
    }
}

pub(super) fn locked_memory(host: &Host) -> Check {
    let name = "locked memory";
    if host.kernel().is_some_and(|version| version >= NO_MEMLOCK_SINCE) {
        return Check::pass(name, "no limit applies to BPF on this kernel");
    }
    let limits = host.read("proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().next());
    if effective(host).has(SYS_RESOURCE) || limit == Some("unlimited") {
        return Check::pass(name, "no limit");
    }
    let limit = limit.unwrap_or("unknown");
    Check::fail(
        name,
        format!("limited to {limit} bytes, which kernels before 5.11 apply to BPF"),
        "grant CAP_SYS_RESOURCE, or ulimit -l unlimited (LimitMEMLOCK=infinity for a systemd unit)",
    )
}
