//! What the kernel has beside what sampling needs: speed, confinement, and bugs that others met.

use super::Probe;
use super::host::Host;
use super::report::Check;
use crate::confine::LANDLOCK_PORTS_SINCE;

/// First kernel whose helper for user stacks does not race with uprobes.
const USER_STACKS_SAFE_SINCE: (u32, u32) = (6, 13);

/// Interpreted, the programs cost several times as much.
pub(super) fn jit(host: &Host) -> Check {
    let name = "BPF JIT";
    match host.number("proc/sys/net/core/bpf_jit_enable") {
        Some(0) => Check::warn(
            name,
            "net.core.bpf_jit_enable is 0: the kernel programs are interpreted, which costs several times as much",
            "sudo sysctl net.core.bpf_jit_enable=1",
        ),
        Some(_) => Check::pass(name, "on"),
        // It shows in the host's network namespace only.
        None => Check::pass(name, "not shown in this network namespace"),
    }
}

pub(super) fn tracefs(host: &Host) -> Check {
    let mounts = host.read("proc/self/mountinfo").unwrap_or_default();
    let is_mounted = mounts.lines().any(|line| line.contains(" - tracefs "));
    Check::pass("tracefs", if is_mounted { "mounted, not needed" } else { "not mounted, not needed" })
}

/// Of bugs that made other profilers bring hosts down or fall silent.
pub(super) fn known_bugs(host: &Host) -> Check {
    let found = match host.kernel() {
        Some(version) if version < USER_STACKS_SAFE_SINCE => {
            "before 6.13 the kernel's helper for user stacks can panic a host with uprobes; the agent never calls it"
        }
        _ => "none that is known",
    };
    Check::pass("kernel bugs", found)
}

/// What confines the agent's own threads.
pub(super) fn confinement(probe: &Probe) -> Check {
    let name = "confinement";
    let mut missing = Vec::new();
    let mut fixes = Vec::new();
    if !probe.seccomp {
        missing.push("no seccomp filters: the agent's threads can make every system call");
        fixes.push("boot a kernel with CONFIG_SECCOMP_FILTER=y");
    }
    match probe.landlock {
        None => {
            missing.push("no Landlock: its folders and ports are not enforced");
            fixes.push("boot kernel 6.7 or newer with CONFIG_SECURITY_LANDLOCK=y and landlock in lsm=");
        }
        Some(abi) if abi < LANDLOCK_PORTS_SINCE => {
            missing.push("Landlock knows no ports: those of the agent are not enforced");
            fixes.push("boot kernel 6.7 or newer");
        }
        Some(_) => {}
    }
    match (missing.is_empty(), probe.landlock) {
        (true, Some(abi)) => Check::pass(name, format!("seccomp filters, Landlock ABI {abi}")),
        _ => Check::warn(name, missing.join("; "), fixes.join("; ")),
    }
}
