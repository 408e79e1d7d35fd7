//! A living process, looked at by itself, for people.

use super::table::ProcessKey;
use super::{proc, service};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::fs::File;
use std::io::ErrorKind;

/// Ticks of `USER_HZ` in nanoseconds.
const TICK_NS: u64 = 10_000_000;
/// `PF_KTHREAD` of include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Why a process cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotRead {
    /// There is none with that id.
    Gone,
    /// It has ended, and its parent has not taken notice yet.
    Ended,
    /// The id is that of a thread of this process.
    Thread(u32),
    /// The kernel does not let this process see it.
    Forbidden,
}

/// What `/proc` says of a process. Texts are as it says them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Living {
    /// Process id.
    pub(crate) pid: u32,
    /// Ticks since boot at its start.
    start_ticks: u64,
    /// Name of the main thread.
    pub(crate) name: String,
    /// A thread of the kernel: it has neither files nor stacks of a user.
    pub(crate) is_kernel_thread: bool,
    /// Path of the executable.
    pub(crate) exe: String,
    /// Arguments, separated by blanks.
    pub(crate) command: String,
    /// The parent's id and name.
    pub(crate) parent: Option<(u32, String)>,
    /// Path of the cgroup that containers are in.
    pub(crate) cgroup: String,
    /// Its id in its own pid namespace, where that is another one than this process's.
    pub(crate) inner_pid: Option<u32>,
}

impl Living {
    /// Looks at a process.
    ///
    /// # Errors
    /// There is none, or it may not be read.
    pub(crate) fn look(pid: u32) -> Result<Self, NotRead> {
        let status = proc::status(pid).ok_or_else(|| absent(pid))?;
        let status = Status(String::from_utf8_lossy(&status).into_owned());
        if let Some(process) = status.number("Tgid:").filter(|process| *process != pid) {
            return Err(NotRead::Thread(process));
        }
        if status.field("State:").starts_with(['Z', 'X']) {
            return Err(NotRead::Ended);
        }
        let start_ticks = proc::start_ticks(pid).ok_or_else(|| absent(pid))?;
        let name = status.field("Name:").to_owned();
        if proc::stat(pid).and_then(|stat| flags(&stat)).is_some_and(|flags| flags & KERNEL_THREAD != 0) {
            return Ok(Self { pid, start_ticks, name, is_kernel_thread: true, ..Self::default() });
        }
        // The same permission is behind the environment, the root and the files that are mapped.
        match File::open(format!("/proc/{pid}/environ")) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(NotRead::Forbidden),
            _ => {}
        }
        let parent = status.number("PPid:").filter(|parent| *parent > 0);
        Ok(Self {
            pid,
            start_ticks,
            name,
            is_kernel_thread: false,
            exe: proc::exe(pid).unwrap_or_default(),
            command: command(&proc::cmdline(pid).unwrap_or_default()),
            parent: parent.map(|parent| (parent, name_of(parent))),
            cgroup: container_cgroup(&proc::cgroup(pid).unwrap_or_default()).to_owned(),
            inner_pid: status.number("NSpid:").filter(|_| is_in_other_namespace(pid)),
        })
    }

    /// The process for good.
    pub(crate) fn key(&self) -> ProcessKey {
        ProcessKey { tgid: self.pid, start_ns: self.start_ticks * TICK_NS }
    }

    /// File name of the executable.
    pub(crate) fn exe_name(&self) -> String {
        service::exe_name(&self.exe)
    }
}

/// `/proc/PID/status`.
struct Status(String);

impl Status {
    fn field(&self, key: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim()
    }

    /// The last number: that of the innermost namespace, where there are several.
    fn number(&self, key: &str) -> Option<u32> {
        self.field(key).split_ascii_whitespace().next_back()?.parse().ok()
    }
}

/// `/proc` may hide the processes of others: a signal tells them from those that are not.
fn absent(pid: u32) -> NotRead {
    let exists = std::path::Path::new(&format!("/proc/{pid}")).exists();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    match pid.map(test_kill_process) {
        Some(Err(Errno::PERM)) => NotRead::Forbidden,
        _ if exists => NotRead::Forbidden,
        _ => NotRead::Gone,
    }
}

/// Field 9 of `/proc/PID/stat`.
fn flags(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 2;
    std::str::from_utf8(stat.get(after_name..)?).ok()?.split(' ').nth(6)?.parse().ok()
}

fn name_of(pid: u32) -> String {
    let status = proc::status(pid).unwrap_or_default();
    Status(String::from_utf8_lossy(&status).into_owned()).field("Name:").to_owned()
}

fn command(cmdline: &[u8]) -> String {
    let text = String::from_utf8_lossy(cmdline);
    text.trim_end_matches('\0').replace('\0', " ")
}

/// Of several hierarchies the first that says more than the root: containers are in all or in some.
fn container_cgroup(lines: &str) -> &str {
    let paths = || lines.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths().find(|path| *path != "/").or_else(|| paths().next()).unwrap_or_default()
}

fn is_in_other_namespace(pid: u32) -> bool {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let other = namespace(&pid.to_string());
    other.is_some() && other != namespace("self")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_as_it_is() {
        let living = Living::look(std::process::id()).unwrap();
        assert_eq!(living.key().tgid, std::process::id());
        assert!(living.exe_name().starts_with("profiler_agent"), "{living:?}");
        assert!(living.command.contains("profiler_agent") && !living.command.contains('\0'), "{living:?}");
        assert_eq!(living.parent.map(|(pid, _)| pid), Some(std::os::unix::process::parent_id()));
        assert_eq!(living.inner_pid, None);
    }

    #[test]
    fn what_is_no_process_is_told() {
        for pid in [0, 4_194_305, u32::MAX] {
            assert_eq!(Living::look(pid), Err(NotRead::Gone), "{pid}");
        }
        let thread = std::thread::spawn(|| {
            let own = std::fs::read_link("/proc/thread-self").unwrap();
            Living::look(own.file_name().unwrap().to_str().unwrap().parse().unwrap())
        });
        assert_eq!(thread.join().unwrap(), Err(NotRead::Thread(std::process::id())));
    }

    #[test]
    fn the_flags_of_a_kernel_thread() {
        assert_eq!(flags(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"), Some(2_129_984));
        assert_eq!(2_129_984 & KERNEL_THREAD, KERNEL_THREAD);
        assert_eq!(flags(b"2 (kthreadd"), None);
    }

    #[test]
    fn cgroups_of_all_layouts() {
        assert_eq!(container_cgroup("0::/system.slice/a.service\n"), "/system.slice/a.service");
        assert_eq!(container_cgroup("12:pids:/docker/ab\n1:name=systemd:/x\n0::/\n"), "/docker/ab");
        assert_eq!(container_cgroup("0::/\n"), "/");
        assert_eq!(container_cgroup(""), "");
    }
}
