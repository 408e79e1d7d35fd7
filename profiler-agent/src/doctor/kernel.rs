//! The kernel: version, types, sampling, symbols.

use super::Probe;
use super::host::Host;
use super::report::Check;

/// First kernel with everything the programs use: tail calls mixed with subprograms.
const FLOOR: (u32, u32) = (5, 10);
/// A thousand symbols or so: enough to see whether their addresses are hidden.
const SYMBOLS_BYTES: u64 = 32 << 10;

pub(super) fn version(host: &Host) -> Check {
    let name = "kernel";
    let release = host.read("proc/sys/kernel/osrelease").unwrap_or_default();
    match host.kernel() {
        Some(version) if version >= FLOOR => Check::pass(name, release),
        Some((major, minor)) => {
            let lacks =
                if (major, minor) < (5, 8) { "it has no BPF ring buffer" } else { "its BPF tail calls fall short" };
            Check::fail(name, format!("{release} is older than 5.10: {lacks}"), "boot kernel 5.10 or newer")
        }
        None => Check::warn(name, format!("release {release:?} cannot be read"), "5.10 or newer is needed"),
    }
}

/// Offsets of kernel structures come from here.
pub(super) fn types(host: &Host) -> Check {
    let (name, path) = ("kernel types", "sys/kernel/btf/vmlinux");
    match host.can_open(path) {
        Ok(()) => Check::pass(name, format!("BTF at /{path}")),
        Err(error) => Check::fail(
            name,
            format!("/{path}: {error}"),
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions have; mount /sys in a container",
        ),
    }
}

pub(super) fn lockdown(host: &Host) -> Check {
    let name = "lockdown";
    match host.read("sys/kernel/security/lockdown") {
        Some(text) if text.contains("[confidentiality]") => {
            Check::fail(name, "confidentiality: BPF may not read memory", "boot with lockdown=integrity or less")
        }
        Some(text) => {
            let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(mode, _)| mode);
            Check::pass(name, mode)
        }
        None => Check::pass(name, "none"),
    }
}

pub(super) fn sampling(host: &Host, probe: &Probe) -> Check {
    let name = "sampling";
    let paranoid = host.read("proc/sys/kernel/perf_event_paranoid").unwrap_or("unknown".into());
    let error = match &probe.sampling {
        Err(error) => error,
        Ok(()) if probe.sampling_takes_admin => {
            let found = format!(
                "this kernel asks for CAP_SYS_ADMIN, which the agent therefore keeps (kernel.perf_event_paranoid is {paranoid})"
            );
            return Check::warn(name, found, "sudo sysctl kernel.perf_event_paranoid=2");
        }
        Ok(()) => return Check::pass(name, "cpu-clock can be opened"),
    };
    let found = format!("cpu-clock cannot be opened: {error} (kernel.perf_event_paranoid is {paranoid})");
    let fix = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if paranoid.parse::<i32>().is_ok_and(|level| level > 2) => {
            "sudo sysctl kernel.perf_event_paranoid=2, and grant CAP_PERFMON; or grant CAP_SYS_ADMIN"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "grant CAP_PERFMON; in a container, allow perf_event_open and bpf in its seccomp profile"
        }
        Some(libc::ENOSYS | libc::ENOENT | libc::ENODEV) => "boot a kernel with CONFIG_PERF_EVENTS=y",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files: ulimit -n 65536",
        _ => "this error is not known; please report it",
    };
    Check::fail(name, found, fix)
}

pub(super) fn sample_rate(host: &Host, frequency_hz: u32) -> Check {
    let name = "sample rate";
    match host.number("proc/sys/kernel/perf_event_max_sample_rate") {
        Some(limit) if limit < frequency_hz.into() => Check::warn(
            name,
            format!("{frequency_hz} Hz is above kernel.perf_event_max_sample_rate {limit}: samples may be throttled"),
            format!("sudo sysctl kernel.perf_event_max_sample_rate={frequency_hz}, or a lower --frequency"),
        ),
        Some(limit) => Check::pass(name, format!("{frequency_hz} Hz, the kernel's limit is {limit}")),
        None => Check::pass(name, format!("{frequency_hz} Hz, the kernel's limit is unknown")),
    }
}

const RINGS_FIX: &str = "grant CAP_BPF; in a container, allow bpf in its seccomp profile";

/// Asked of the kernel itself: distributions bring features to old versions.
pub(super) fn rings(host: &Host, probe: &Probe, frequency_hz: u32) -> Check {
    let name = "ring buffer";
    let (kib, cpus) = (probe.ring_bytes >> 10, host.online_cpus());
    match &probe.ring_buffer {
        Ok(true) => Check::pass(name, format!("{kib} KiB for {cpus} online CPUs at {frequency_hz} Hz")),
        Ok(false) => Check::fail(
            name,
            "this kernel has no BPF ring buffer (BPF_MAP_TYPE_RINGBUF, since Linux 5.8)",
            "boot kernel 5.10 or newer",
        ),
        Err(error) => Check::warn(name, format!("whether the kernel has it cannot be told: {error}"), RINGS_FIX),
    }
}

/// Addresses read as zero without the privilege to see them.
pub(super) fn symbols(host: &Host) -> Check {
    let name = "kernel symbols";
    let Some(text) = host.beginning("proc/kallsyms", SYMBOLS_BYTES) else {
        return Check::warn(name, "/proc/kallsyms cannot be read", "boot a kernel with CONFIG_KALLSYMS=y; mount /proc");
    };
    let address = |line: &str| u64::from_str_radix(line.split(' ').next()?, 16).ok();
    if text.lines().filter_map(address).any(|address| address != 0) {
        return Check::pass(name, "addresses in /proc/kallsyms can be read");
    }
    let restrict = host.number("proc/sys/kernel/kptr_restrict").unwrap_or(0);
    let fix = if restrict >= 2 { "sudo sysctl kernel.kptr_restrict=1" } else { "grant CAP_SYSLOG" };
    let found = format!("addresses in /proc/kallsyms are hidden (kernel.kptr_restrict is {restrict}): no kernel names");
    Check::warn(name, found, fix)
}
