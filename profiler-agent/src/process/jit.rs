//! Code made at run time: the files in which a process says what it is.
//!
//! Two conventions, both of the kernel's `perf`: `/tmp/perf-PID.map`, and `jit-PID.dump`, which the process maps
//! executable so that it is found. PID is what the process itself has for its id. A file that is open can be read when
//! the process is gone.

use super::executable::{Executable, ExecutableKind, Executables, open_mapped};
use super::identity::Naming;
use super::mapping::Mappings;
use super::proc;
use super::root::open_regular_in;
use super::table::ProcessKey;
use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// How often files are looked for that come to be later, or anew.
const LOOK_NS: u64 = 2_000_000_000;
/// A map that was last written longer than this before the process started is of another process with its id.
const SLACK_S: i64 = 2;

/// What a process says about its code.
#[derive(Debug, Default)]
pub struct JitCode {
    /// `/tmp/perf-PID.map`.
    pub perf_map: Option<File>,
    /// `jit-PID.dump`.
    pub jitdump: Option<File>,
}

impl JitCode {
    /// None when the process says nothing, or lives no more.
    fn find(key: ProcessKey, mappings: &Mappings, names: &Naming) -> Option<Self> {
        let status = Status::parse(&proc::status(key.tgid)?)?;
        let name = format!("/jit-{}.dump", status.inner_pid);
        let dump = mappings.iter().find(|mapping| mapping.path.ends_with(&name));
        let jitdump = dump.and_then(|mapping| open_mapped(key.tgid, mapping, &[key.tgid]));
        let found = Self { perf_map: perf_map(key, &status), jitdump };
        let says = found.perf_map.is_some() || found.jitdump.is_some();
        // Opened first, checked last: nobody else can have had the pid in between.
        (says && names.lives(key)).then_some(found)
    }

    /// Which files they are.
    fn identity(&self) -> [Option<(u64, u64)>; 2] {
        let identity = |file: &File| file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
        [&self.perf_map, &self.jitdump].map(|file| file.as_ref().and_then(identity))
    }
}

/// The code of one process, once it has said something about it.
#[derive(Default)]
pub(super) struct Jit {
    code: Option<Arc<Executable>>,
    look_after_ns: u64,
}

impl Jit {
    /// What stands for the code; none when nothing is known of it.
    pub(super) fn executable(
        &mut self,
        key: ProcessKey,
        mappings: &Mappings,
        names: &Naming,
        executables: &mut Executables,
        time_ns: u64,
    ) -> Option<Arc<Executable>> {
        if time_ns >= self.look_after_ns {
            self.look_after_ns = time_ns + LOOK_NS;
            if let Some(found) = JitCode::find(key, mappings, names)
                && self.identity() != Some(found.identity())
            {
                self.code = executables.make_jit(found).or(self.code.take());
            }
        }
        self.code.clone()
    }

    fn identity(&self) -> Option<[Option<(u64, u64)>; 2]> {
        match &self.code.as_ref()?.kind {
            ExecutableKind::Jit(code) => Some(code.identity()),
            _ => None,
        }
    }
}

/// The lines of `/proc/PID/status` that count here.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    /// Real, effective, saved and file system's.
    uids: Vec<u32>,
    /// The process id in the innermost of its namespaces.
    inner_pid: u32,
}

impl Status {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let numbers = |key: &str| -> Vec<u32> {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        Some(Self { uids: numbers("Uid:"), inner_pid: *numbers("NSpid:").last()? })
    }

    /// Whether a file of this user is believed.
    fn trusts(&self, uid: u32) -> bool {
        uid == 0 || self.uids.contains(&uid)
    }
}

/// Opens the map in the process's own `/tmp`. Neither that nor the map may be a symbolic link: an absolute one would
/// lead out of the process's root.
fn perf_map(key: ProcessKey, status: &Status) -> Option<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(format!("/proc/{}/root/tmp", key.tgid), flags, Mode::empty()).ok()?;
    let name = PathBuf::from(format!("perf-{}.map", status.inner_pid));
    let wanted = |opened: &Metadata| status.trusts(opened.uid()) && opened.mtime() + SLACK_S >= started_unix_s(key);
    open_regular_in(&folder, &name, wanted).ok()
}

fn started_unix_s(key: ProcessKey) -> i64 {
    let booted = clock_gettime(ClockId::Realtime).tv_sec - clock_gettime(ClockId::Boottime).tv_sec;
    booted + (key.start_ns / 1_000_000_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ids_of_the_innermost_namespace() {
        let text = b"Name:\tnode NSpid: 1\nUid:\t1000\t0\t1000\t1000\nNStgid:\t77\t5\t1\nNSpid:\t77\t5\t1\n";
        assert_eq!(Status::parse(text), Some(Status { uids: vec![1000, 0, 1000, 1000], inner_pid: 1 }));
        assert_eq!(Status::parse(b"Uid:\t0\t0\t0\t0\n"), None);
        assert_eq!(Status::parse(&proc::status(std::process::id()).unwrap()).unwrap().inner_pid, std::process::id());
    }

    #[test]
    fn another_user_cannot_name_the_code_of_a_process() {
        let status = Status { uids: vec![1000, 1001, 1000, 1000], inner_pid: 1 };
        assert_eq!([0, 1000, 1001, 1002].map(|uid| status.trusts(uid)), [true, true, true, false]);
    }

    fn own_key() -> ProcessKey {
        let tgid = std::process::id();
        ProcessKey { tgid, start_ns: proc::start_ticks(tgid).unwrap() * 10_000_000 }
    }

    /// One after the other: all are about the one file name that this process has.
    #[test]
    fn takes_only_a_map_of_this_process() {
        let status = Status::parse(&proc::status(std::process::id()).unwrap()).unwrap();
        let path = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
        assert!(perf_map(own_key(), &status).is_none(), "there is none");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(perf_map(own_key(), &status).is_none(), "a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "1000 10 name\n").unwrap();
        assert!(perf_map(own_key(), &status).is_some());
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        assert!(perf_map(own_key(), &status).is_none(), "of a process that had this id before");
        std::fs::remove_file(&path).unwrap();
    }
}
