//! Files as a process sees them: opened below its root, and only when they are regular files.

use super::Refusal;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::{File, Metadata};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Opens a regular file of a living process. Symbolic links lead where they lead for that process: an absolute one
/// stays below its root, which the kernel's own resolution of `/proc/PID/root/…` does not guarantee.
pub(crate) fn open_in_root(pid: u32, path: &Path) -> Option<File> {
    let root = rustix::fs::open(format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let place = rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    reopen(&File::from(place), |_| true).ok()
}

/// Opens a regular file that is wanted. What it is shows before it is opened: opening a fifo waits for its writer, and
/// opening a device does whatever its driver likes. An error without a reason: nothing there, or not what is wanted.
pub(super) fn open_regular(path: &Path, wanted: impl Fn(&Metadata) -> bool) -> Result<File, Option<Refusal>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|_| None)?);
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

    fn fifo_in(folder: &Path) -> std::path::PathBuf {
        let fifo = folder.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        fifo
    }

    #[test]
    fn opens_neither_fifos_nor_devices() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = fifo_in(folder.path());
        for path in [fifo.as_path(), Path::new("/dev/zero"), folder.path()] {
            assert_eq!(open_regular(path, |_| true).err(), Some(Some(Refusal::Malformed)), "{}", path.display());
            assert!(open_in_root(std::process::id(), path).is_none(), "{}", path.display());
        }
        assert_eq!(open_regular(&folder.path().join("none"), |_| true).err(), Some(None));
        assert!(open_regular(Path::new("/proc/self/exe"), |_| true).is_ok());
    }

    #[test]
    fn follows_links_that_stay_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "text").unwrap();
        std::os::unix::fs::symlink(folder.path().join("file"), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/proc/self/exe", folder.path().join("magic")).unwrap();
        let open = |name: &str| open_in_root(std::process::id(), &folder.path().join(name));
        assert!(open("link").is_some());
        assert!(open("magic").is_none());
        assert!(open_in_root(u32::MAX, &folder.path().join("file")).is_none());
    }
}
