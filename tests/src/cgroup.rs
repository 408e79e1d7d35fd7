//! Control groups made for a test: a group and one inside it.

use crate::workload::Running;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Which kind of hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// With a controller of its own.
    V1,
    /// The unified one.
    V2,
}

impl Version {
    /// Of the hierarchy that carries containers on this host.
    #[must_use]
    pub fn of_containers() -> Self {
        if find(Self::V1).is_some() { Self::V1 } else { Self::V2 }
    }
}

/// A new group; removed when dropped, as it must be empty by then.
#[derive(Debug)]
pub struct Group {
    /// Its folder.
    pub path: PathBuf,
    mounted: Option<Mounted>,
}

impl Group {
    /// A group at the top of the hierarchy.
    #[must_use]
    pub fn new(version: Version) -> Self {
        let (top, mounted) = match (find(version), version) {
            (Some(top), _) => (top, None),
            (None, Version::V1) => {
                let mounted = Mounted::new();
                (mounted.0.path().to_owned(), Some(mounted))
            }
            (None, Version::V2) => panic!("no cgroup2 hierarchy is mounted"),
        };
        let mut group = Self::make(top.join(format!("profiler-test-{}", std::process::id())));
        group.mounted = mounted;
        group
    }

    /// A group inside this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::make(self.path.join(name))
    }

    fn make(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, mounted: None }
    }

    /// Moves a process into it.
    pub fn add(&self, process: &Running) {
        let file = self.path.join("cgroup.procs");
        std::fs::write(&file, process.pid().to_string()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// As an argument.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has just ended leaves its group a little later.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.path).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.mounted.take());
    }
}

/// The first mounted hierarchy of a kind: pids of v1, as every host with v1 has it.
fn find(version: Version) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let wanted = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let is = match version {
            Version::V1 => kind == "cgroup" && options.split(',').any(|option| option == "pids"),
            Version::V2 => kind == "cgroup2",
        };
        is.then(|| left.split(' ').nth(4).map(PathBuf::from)).flatten()
    };
    mounts.lines().find_map(wanted)
}

/// A v1 hierarchy of a controller that nothing uses, on hosts that have only the unified one.
#[derive(Debug)]
struct Mounted(TempDir);

impl Mounted {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder to mount at");
        let mounts = |controller: &str| mount(controller, folder.path());
        assert!(
            ["freezer", "net_cls", "perf_event"].into_iter().any(mounts),
            "no v1 hierarchy, and none can be mounted"
        );
        Self(folder)
    }
}

fn mount(controller: &str, at: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "cgroup", "-o", controller, "none"]).arg(at).status().is_ok_and(|status| status.success())
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
