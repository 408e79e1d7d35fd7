//! Files as a process sees them: opened below its root, and only when they are regular files.

use super::Refusal;
use super::below::place_below;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Weak};

/// Roots known at most; those that nobody needs any more go first.
const MAX_ROOTS: usize = 1024;

/// The file system as a process sees it, for longer than the process lives.
#[derive(Clone, Debug, Default)]
pub struct Root(Place);

#[derive(Clone, Debug, Default)]
enum Place {
    /// The agent's own.
    #[default]
    Own,
    Folder(Arc<File>),
    /// The process was gone before its root was seen, which may have been any.
    Gone,
}

impl Root {
    /// Whether the agent sees the same.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.0, Place::Own)
    }

    /// Whether nothing is below it.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.0, Place::Gone)
    }

    /// Of a process that was gone before it was seen: nothing is below it.
    pub(crate) fn gone() -> Self {
        Self(Place::Gone)
    }

    /// Opens a regular file. Symbolic links lead where they lead for that process: an absolute one stays below its
    /// root, which the kernel's own resolution of `/proc/PID/root/…` does not guarantee.
    pub(crate) fn open(&self, path: &Path) -> Option<File> {
        let place = match &self.0 {
            Place::Own => place_below(&folder(Path::new("/"))?, path)?,
            Place::Folder(folder) => place_below(folder, path)?,
            Place::Gone => return None,
        };
        reopen(&place, |_| true).ok()
    }
}

fn folder(path: &Path) -> Option<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from)
}

/// Device and inode of the root folder, and the mount namespace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RootKey(u64, u64, u64);

impl RootKey {
    fn of(pid: &str, folder: &File) -> Option<Self> {
        let metadata = folder.metadata().ok()?;
        let namespace = std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?;
        Some(Self(metadata.dev(), metadata.ino(), namespace.ino()))
    }
}

/// The roots of processes, each opened once.
#[derive(Default)]
pub(super) struct Roots {
    own: Option<RootKey>,
    known: HashMap<RootKey, Weak<File>>,
}

impl Roots {
    /// The root of a process; one with nothing below it when the process is gone.
    pub(super) fn of(&mut self, pid: u32) -> Root {
        self.of_live(pid).unwrap_or_else(Root::gone)
    }

    fn of_live(&mut self, pid: u32) -> Option<Root> {
        let found = folder(Path::new(&format!("/proc/{pid}/root")))?;
        let key = RootKey::of(&pid.to_string(), &found)?;
        if self.own.is_none() {
            self.own = folder(Path::new("/")).and_then(|own| RootKey::of("self", &own));
        }
        if self.own == Some(key) {
            return Some(Root::default());
        }
        if let Some(folder) = self.known.get(&key).and_then(Weak::upgrade) {
            return Some(Root(Place::Folder(folder)));
        }
        if self.known.len() >= MAX_ROOTS {
            self.known.retain(|_, folder| folder.strong_count() > 0);
        }
        let found = Arc::new(found);
        self.known.insert(key, Arc::downgrade(&found));
        Some(Root(Place::Folder(found)))
    }
}

/// Opens a regular file that is wanted as a process sees it, and never one outside its root.
pub(super) fn open_below(pid: u32, path: &Path, wanted: impl Fn(&Metadata) -> bool) -> Option<File> {
    let root = folder(Path::new(&format!("/proc/{pid}/root")))?;
    reopen(&place_below(&root, path)?, wanted).ok()
}

/// Opens a regular file that is wanted. What it is shows before it is opened: opening a fifo waits for its writer, and
/// opening a device does whatever its driver likes. An error without a reason: nothing there, or not what is wanted.
pub(super) fn open_regular(path: &Path, wanted: impl Fn(&Metadata) -> bool) -> Result<File, Option<Refusal>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|_| None)?);
    reopen(&place, wanted)
}

/// The same, of a name in a folder. It is no symbolic link.
pub(super) fn open_regular_in(
    folder: impl AsFd,
    name: &Path,
    wanted: impl Fn(&Metadata) -> bool,
) -> Result<File, Option<Refusal>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = File::from(rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|_| None)?);
    reopen(&place, wanted)
}

/// For reading what was opened as a mere place.
fn reopen(place: &File, wanted: impl Fn(&Metadata) -> bool) -> Result<File, Option<Refusal>> {
    let metadata = place.metadata().map_err(|_| None)?;
    if !metadata.is_file() {
        return Err(Some(Refusal::Malformed));
    }
    if !wanted(&metadata) {
        return Err(None);
    }
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).map_err(|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn opens_neither_fifos_nor_devices() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), folder.path()] {
            assert_eq!(open_regular(path, |_| true).err(), Some(Some(Refusal::Malformed)), "{}", path.display());
            assert!(Root::default().open(path).is_none(), "{}", path.display());
        }
        assert_eq!(open_regular(&folder.path().join("none"), |_| true).err(), Some(None));
        assert!(open_regular(Path::new("/proc/self/exe"), |_| true).is_ok());
    }

    #[test]
    fn links_stay_below_the_root() {
        let below = tempfile::tempdir().unwrap();
        std::fs::write(below.path().join("file"), "below").unwrap();
        std::os::unix::fs::symlink("/file", below.path().join("link")).unwrap();
        std::os::unix::fs::symlink("../../../../file", below.path().join("up")).unwrap();
        std::os::unix::fs::symlink("/proc/self/exe", below.path().join("magic")).unwrap();
        let root = Root(Place::Folder(folder(below.path()).map(Arc::new).unwrap()));
        let read = |name: &str| root.open(Path::new(name)).map(|file| std::io::read_to_string(file).unwrap());
        for name in ["/file", "file", "/link", "up", "/../file"] {
            assert_eq!(read(name).as_deref(), Some("below"), "{name}");
        }
        assert_eq!(read("/magic"), None);
        assert!(Root::default().open(&below.path().join("magic")).is_none());
    }

    #[test]
    fn a_process_with_the_agents_root_needs_none_of_its_own() {
        let mut roots = Roots::default();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(roots.of(child.id()).is_own());
        let gone = roots.of(u32::MAX);
        assert!(!gone.is_own() && gone.open(Path::new("/proc/self/status")).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
