use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

const ALL: &str = "000001ffffffffff";

/// A host where everything is fine.
fn healthy() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n"),
        ("proc/sys/kernel/perf_event_paranoid", "2\n"),
        ("proc/sys/kernel/perf_event_max_sample_rate", "100000\n"),
        ("proc/sys/kernel/kptr_restrict", "1\n"),
        ("proc/kallsyms", "ffffffff81000000 T _stext\n"),
        ("proc/self/status", &format!("Name:\tx\nCapEff:\t{ALL}\n")),
        ("proc/self/limits", "Max locked memory         8388608              8388608              bytes\n"),
        (
            "proc/self/mountinfo",
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        ),
        ("sys/kernel/btf/vmlinux", "BTF"),
        ("sys/devices/system/cpu/online", "0-2,5\n"),
    ];
    for (path, text) in files {
        write(root.path(), path, text);
    }
    fs::create_dir_all(root.path().join("proc/self/ns")).unwrap();
    symlink("pid:[4026531836]", root.path().join("proc/self/ns/pid")).unwrap();
    symlink("user:[4026531837]", root.path().join("proc/self/ns/user")).unwrap();
    root
}

fn write(root: &Path, path: &str, text: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), text).unwrap();
}

fn capabilities(root: &Path, bits: u64) {
    write(root, "proc/self/status", &format!("CapEff:\t{bits:016x}\n"));
}

/// A kernel that allows everything.
fn probe() -> Probe {
    let trials = Trials { processes: Ok(()), files: Ok(()), mapped_files: Ok(()) };
    Probe {
        sampling: Ok(()),
        sampling_takes_admin: false,
        ring_buffer: Ok(true),
        ring_bytes: 1 << 20,
        trials,
        seccomp: true,
        landlock: Some(7),
    }
}

fn report(root: &Path) -> Report {
    checks(&Host::new(root.into()), &probe(), 99)
}

fn found(root: &Path, name: &str) -> (Status, String) {
    let check = report(root).0.into_iter().find(|check| check.name == name).unwrap();
    assert_eq!(check.status == Status::Ok, check.fixes.is_empty(), "{check:?}");
    (check.status, check.found)
}

#[test]
fn a_healthy_host_passes() {
    let root = healthy();
    let report = report(root.path());
    assert!(report.0.iter().all(|check| check.status == Status::Ok), "{}", report.text());
    assert_eq!(refusal(&report), Ok(()));
    assert_eq!(found(root.path(), "ring buffer").1, "1024 KiB for 4 online CPUs at 99 Hz");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["checks"][0]["status"], "ok");
}

#[test]
fn kernels_before_the_floor_are_refused() {
    let root = healthy();
    write(root.path(), "proc/sys/kernel/osrelease", "5.4.0-150-generic\n");
    let failure = refusal(&report(root.path())).unwrap_err();
    assert_eq!(failure.code, 77);
    let wanted =
        "kernel: 5.4.0-150-generic is older than 5.10: it has no BPF ring buffer\n    boot kernel 5.10 or newer";
    assert!(failure.message.contains(wanted), "{}", failure.message);
    write(root.path(), "proc/sys/kernel/osrelease", "5.10.0-28-amd64\n");
    assert_eq!(found(root.path(), "kernel").0, Status::Ok);
}

#[test]
fn a_kernel_without_ring_buffers_is_refused() {
    let root = healthy();
    let examine = |ring_buffer| checks(&Host::new(root.path().into()), &Probe { ring_buffer, ..probe() }, 99);
    let failure = refusal(&examine(Ok(false))).unwrap_err();
    assert_eq!(failure.code, 77);
    let wanted = "ring buffer: this kernel has no BPF ring buffer (BPF_MAP_TYPE_RINGBUF, since Linux 5.8)\n    \
                  boot kernel 5.10 or newer";
    assert!(failure.message.contains(wanted), "{}", failure.message);
    // Without the privilege to try, the capabilities say so.
    let report = examine(Err(std::io::Error::from_raw_os_error(libc::EPERM)));
    assert_eq!(refusal(&report), Ok(()));
}

#[test]
fn every_missing_capability_is_named_with_ways_to_grant_it() {
    let root = healthy();
    capabilities(root.path(), 0);
    let message = refusal(&report(root.path())).unwrap_err().message;
    assert!(message.contains("missing CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"), "{message}");
    for way in ["sudo ", "setcap cap_bpf,cap_perfmon,", "securityContext: {"] {
        assert!(message.contains(way), "{message}");
    }
    // SYS_ADMIN grants what BPF and PERFMON do, DAC_OVERRIDE what DAC_READ_SEARCH does.
    capabilities(root.path(), 1 << 21 | 1 << 19 | 1 << 1);
    assert_eq!(found(root.path(), "capabilities").0, Status::Ok);
    let names = found(root.path(), "more names");
    assert_eq!(names, (Status::Warn, "missing CAP_SYSLOG: no names for kernel functions".into()));
    capabilities(root.path(), 1 << 39 | 1 << 38 | 1 << 2);
    assert_eq!(found(root.path(), "capabilities"), (Status::Fail, "missing CAP_SYS_PTRACE".into()));
}

#[test]
fn capabilities_of_a_user_namespace_do_not_count() {
    let root = healthy();
    fs::remove_file(root.path().join("proc/self/ns/user")).unwrap();
    symlink("user:[4026532000]", root.path().join("proc/self/ns/user")).unwrap();
    assert_eq!(found(root.path(), "capabilities").0, Status::Fail);
}

#[test]
fn locked_memory_matters_before_5_11() {
    let root = healthy();
    capabilities(root.path(), 0x1ff_ffff_ffff & !(1 << 24));
    assert_eq!(found(root.path(), "locked memory").0, Status::Ok);
    write(root.path(), "proc/sys/kernel/osrelease", "5.10.0");
    assert_eq!(found(root.path(), "locked memory").0, Status::Fail);
    write(
        root.path(),
        "proc/self/limits",
        "Max locked memory         unlimited            unlimited            bytes\n",
    );
    assert_eq!(found(root.path(), "locked memory").0, Status::Ok);
}

#[test]
fn a_foreign_pid_namespace_is_refused() {
    let root = healthy();
    fs::remove_file(root.path().join("proc/self/ns/pid")).unwrap();
    symlink("pid:[4026532555]", root.path().join("proc/self/ns/pid")).unwrap();
    let message = refusal(&report(root.path())).unwrap_err().message;
    assert!(message.contains("hostPID: true"), "{message}");
}

#[test]
fn a_kernel_without_types_and_a_locked_one_are_refused() {
    let root = healthy();
    fs::remove_file(root.path().join("sys/kernel/btf/vmlinux")).unwrap();
    write(root.path(), "sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    let message = refusal(&report(root.path())).unwrap_err().message;
    assert!(message.contains("CONFIG_DEBUG_INFO_BTF") && message.contains("lockdown=integrity"), "{message}");
}

#[test]
fn an_event_that_cannot_be_opened_is_refused_with_its_reason() {
    let root = healthy();
    for (errno, wanted) in
        [(libc::EACCES, "CAP_PERFMON"), (libc::ENOSYS, "CONFIG_PERF_EVENTS"), (libc::EMFILE, "ulimit")]
    {
        let probe = Probe { sampling: Err(std::io::Error::from_raw_os_error(errno)), ..probe() };
        let message = refusal(&checks(&Host::new(root.path().into()), &probe, 99)).unwrap_err().message;
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn a_kernel_that_asks_for_more_than_perfmon_is_a_warning() {
    let root = healthy();
    write(root.path(), "proc/sys/kernel/perf_event_paranoid", "3\n");
    let report = checks(&Host::new(root.path().into()), &Probe { sampling_takes_admin: true, ..probe() }, 99);
    assert_eq!(refusal(&report), Ok(()));
    let check = report.0.iter().find(|check| check.name == "sampling").unwrap();
    assert_eq!(check.status, Status::Warn);
    assert!(check.found.contains("CAP_SYS_ADMIN") && check.found.contains("is 3"), "{}", check.found);
    assert_eq!(check.fixes, ["sudo sysctl kernel.perf_event_paranoid=2"]);
    let sampling = Err(std::io::Error::from_raw_os_error(libc::EACCES));
    let report = checks(&Host::new(root.path().into()), &Probe { sampling, ..probe() }, 99);
    let message = refusal(&report).unwrap_err().message;
    assert!(message.contains("sysctl kernel.perf_event_paranoid=2, and grant CAP_PERFMON"), "{message}");
}

#[test]
fn what_only_hides_names_is_a_warning() {
    let root = healthy();
    write(root.path(), "proc/kallsyms", "0000000000000000 T _stext\n");
    write(root.path(), "proc/sys/kernel/perf_event_max_sample_rate", "50\n");
    let mounts = "22 27 0:21 / /proc rw,relatime - proc proc rw,hidepid=invisible\n";
    write(root.path(), "proc/self/mountinfo", mounts);
    for name in ["kernel symbols", "sample rate", "cgroups"] {
        assert_eq!(found(root.path(), name).0, Status::Warn, "{name}");
    }
    assert_eq!(found(root.path(), "/proc").0, Status::Ok);
    capabilities(root.path(), 1 << 21);
    assert_eq!(found(root.path(), "/proc").0, Status::Warn);
}

#[test]
fn hybrid_hosts_carry_containers_in_v1() {
    let root = healthy();
    let mounts = "31 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n32 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    write(root.path(), "proc/self/mountinfo", mounts);
    assert_eq!(found(root.path(), "cgroups").1, "hybrid; containers are in v1 pids");
}

#[test]
fn a_capability_that_is_there_and_of_no_use_is_refused() {
    let root = healthy();
    let denied = || Err(std::io::Error::from_raw_os_error(libc::EACCES));
    let examine = |trials| checks(&Host::new(root.path().into()), &Probe { trials, ..probe() }, 99);
    let message = refusal(&examine(Trials { processes: denied(), ..probe().trials })).unwrap_err().message;
    let wanted =
        "tried for real: CAP_SYS_PTRACE is there, but /proc/PID/exe of others: Permission denied (os error 13)";
    assert!(message.contains(wanted) && message.contains("appArmorProfile: {type: Unconfined}"), "{message}");
    assert!(refusal(&examine(Trials { files: denied(), ..probe().trials })).is_err());
    // It costs names alone.
    assert_eq!(refusal(&examine(Trials { mapped_files: denied(), ..probe().trials })), Ok(()));
    // Where the capability itself is missing, that is what is said.
    capabilities(root.path(), 0);
    let report = examine(Trials { processes: denied(), files: denied(), mapped_files: denied() });
    let tried = report.0.iter().find(|check| check.name == "tried for real").unwrap();
    assert_eq!(tried.status, Status::Ok);
}

#[test]
fn what_confines_the_agent_is_named() {
    let root = healthy();
    let of = |seccomp, landlock| {
        let report = checks(&Host::new(root.path().into()), &Probe { seccomp, landlock, ..probe() }, 99);
        assert_eq!(refusal(&report), Ok(()));
        let check = report.0.into_iter().find(|check| check.name == "confinement").unwrap();
        assert_eq!(check.status == Status::Ok, check.fixes.is_empty());
        check.found
    };
    assert_eq!(of(true, Some(7)), "seccomp filters, Landlock ABI 7");
    assert_eq!(of(true, Some(3)), "Landlock knows no ports: those of the agent are not enforced");
    assert_eq!(of(true, None), "no Landlock: its folders and ports are not enforced");
    assert!(of(false, None).starts_with("no seccomp filters"));
}

#[test]
fn programs_that_are_interpreted_and_bugs_of_kernels_are_named() {
    let root = healthy();
    assert_eq!(found(root.path(), "BPF JIT").0, Status::Ok);
    write(root.path(), "proc/sys/net/core/bpf_jit_enable", "0\n");
    assert_eq!(found(root.path(), "BPF JIT").0, Status::Warn);
    write(root.path(), "proc/sys/net/core/bpf_jit_enable", "1\n");
    assert_eq!(found(root.path(), "BPF JIT"), (Status::Ok, "on".into()));
    assert!(found(root.path(), "kernel bugs").1.contains("the agent never calls it"));
    write(root.path(), "proc/sys/kernel/osrelease", "6.13.0\n");
    assert_eq!(found(root.path(), "kernel bugs").1, "none that is known");
    assert_eq!(found(root.path(), "tracefs").1, "not mounted, not needed");
}

#[test]
fn mistakes_in_the_configuration_are_findings() {
    let variable = |name: &str| (name == "PROFILER_INTERVAL").then(|| "10ms".into());
    let mistakes = crate::config::run(&Default::default(), &variable).unwrap_err();
    let checks = endpoints::mistakes(&mistakes);
    assert_eq!((checks.len(), checks[0].status), (1, Status::Fail));
    assert!(checks[0].found.starts_with("environment PROFILER_INTERVAL: "), "{checks:?}");
}
