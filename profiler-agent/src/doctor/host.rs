//! Facts of a host, read below a root folder; and how this process sees other processes.

use super::capabilities::{SYS_PTRACE, effective};
use super::report::Check;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

/// Inode of the initial pid namespace: PROC_PID_INIT_INO of include/linux/proc_ns.h.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Inode of the initial user namespace: PROC_USER_INIT_INO.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// Of a file read for facts.
const MAX_BYTES: u64 = 1 << 20;

/// A host.
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The beginning of a file, without the white space around it.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        self.beginning(path, MAX_BYTES)
    }

    /// No more of a file than so many bytes: the kernel makes long ones up as they are read.
    pub(super) fn beginning(&self, path: &str, bytes: u64) -> Option<String> {
        let mut text = Vec::new();
        File::open(self.root.join(path)).ok()?.take(bytes).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    pub(super) fn can_open(&self, path: &str) -> std::io::Result<()> {
        File::open(self.root.join(path)).map(drop)
    }

    /// `5.10.0-28-amd64` is (5, 10).
    pub(super) fn kernel(&self) -> Option<(u32, u32)> {
        let release = self.read("proc/sys/kernel/osrelease")?;
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    fn namespace(&self, kind: &str) -> Option<u64> {
        let link = std::fs::read_link(self.root.join("proc/self/ns").join(kind)).ok()?;
        link.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
    }

    pub(super) fn in_initial_user_namespace(&self) -> bool {
        self.namespace("user").is_none_or(|inode| inode == INITIAL_USER_NAMESPACE)
    }

    /// Number of CPUs in a list such as `0-3,5`.
    pub(super) fn online_cpus(&self) -> u64 {
        let list = self.read("sys/devices/system/cpu/online").unwrap_or_default();
        let range = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(last.parse::<u64>().ok()?.saturating_sub(first.parse().ok()?) + 1)
        };
        list.split(',').filter_map(range).sum()
    }
}

/// The kernel names processes by the host's ids; `/proc` must, too.
pub(super) fn pid_namespace(host: &Host) -> Check {
    let name = "pid namespace";
    match host.namespace("pid") {
        Some(INITIAL_PID_NAMESPACE) => Check::pass(name, "the host's"),
        Some(inode) => {
            let found =
                format!("{inode}, not the host's ({INITIAL_PID_NAMESPACE}): process ids of samples would name others");
            let fix = "start it in the host's: hostPID: true in Kubernetes, --pid=host with docker";
            let mut check = Check::fail(name, found, fix);
            // There hostPID is the namespace of the container that plays the node.
            check
                .fixes
                .push("where nodes are containers themselves (kind, minikube), run it on the host around them".into());
            check
        }
        None => Check::warn(name, "cannot be told: /proc/self/ns/pid", "mount /proc"),
    }
}

/// Options of `/proc` that hide what the agent reads.
pub(super) fn processes(host: &Host) -> Check {
    let name = "/proc";
    let mounts = host.read("proc/self/mountinfo").unwrap_or_default();
    let options = mounts.lines().rev().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (left.split(' ').nth(4)? == "/proc" && right.starts_with("proc ")).then_some(right)
    });
    let Some(options) = options else {
        return Check::warn(name, "no proc file system at /proc in this mount namespace", "mount -t proc proc /proc");
    };
    let options: Vec<&str> = options.split([' ', ',']).collect();
    if options.contains(&"subset=pid") {
        return Check::warn(name, "shows processes only (subset=pid)", "mount -o remount,subset= /proc");
    }
    let hides = options
        .iter()
        .find(|option| option.starts_with("hidepid=") && !matches!(**option, "hidepid=0" | "hidepid=off"));
    match hides {
        Some(option) if !effective(host).has(SYS_PTRACE) => Check::warn(
            name,
            format!("hides other users' processes ({option})"),
            "grant CAP_SYS_PTRACE, or mount -o remount,hidepid=0 /proc",
        ),
        Some(option) => Check::pass(name, format!("{option}, which CAP_SYS_PTRACE sees through")),
        None => Check::pass(name, "shows every process"),
    }
}
