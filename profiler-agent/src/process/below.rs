//! Resolving a path below a folder, one name after the other.
//!
//! This is what `openat2` does with `RESOLVE_IN_ROOT` and `RESOLVE_NO_MAGICLINKS`, which the threads that read other
//! processes cannot call: a seccomp filter cannot see whether it opens for writing. Whoever moves folders about
//! meanwhile gains nothing: `..` is answered from the folders that were opened on the way, never by the file system.

use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// Symbolic links on the way: as many as the kernel follows.
const MAX_LINKS: usize = 40;
/// Names that are yet to come.
const MAX_NAMES: usize = 512;
/// `PROC_SUPER_MAGIC`: its links lead out of every root.
const PROC: i64 = 0x9fa0;

/// Opens what is at `path` below `root` as a mere place. Absolute links begin at `root`, and no `..` leads above it.
pub(super) fn place_below(root: &File, path: &Path) -> Option<File> {
    let mut way = Way { root, opened: Vec::new(), left: Vec::new() };
    way.go_on(path)?;
    let mut links = 0;
    while let Some(name) = way.left.pop() {
        if name == ".." {
            way.opened.pop();
            continue;
        }
        let place = way.open(&name)?;
        if place.metadata().ok()?.is_symlink() {
            links += 1;
            let target = (links <= MAX_LINKS).then(|| target(&place)).flatten()?;
            way.go_on(&target)?;
            continue;
        }
        way.opened.push(place);
    }
    way.opened.pop().or_else(|| root.try_clone().ok())
}

struct Way<'a> {
    root: &'a File,
    /// Folders below the root, the last one is where we are.
    opened: Vec<File>,
    /// Names, the next one last.
    left: Vec<OsString>,
}

impl Way<'_> {
    fn go_on(&mut self, path: &Path) -> Option<()> {
        if path.has_root() {
            self.opened.clear();
        }
        let names = path.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
        self.left.extend(names.take(MAX_NAMES + 1));
        (self.left.len() <= MAX_NAMES).then_some(())
    }

    fn open(&self, name: &OsString) -> Option<File> {
        let folder = self.opened.last().unwrap_or(self.root);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(folder, name, flags, Mode::empty()).ok().map(File::from)
    }
}

fn target(link: &File) -> Option<PathBuf> {
    if rustix::fs::fstatfs(link).ok()?.f_type as i64 == PROC {
        return None;
    }
    let target = rustix::fs::readlinkat(link, "", Vec::new()).ok()?;
    Some(OsString::from_vec(target.into_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn root() -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "").unwrap();
        let opened = File::open(folder.path()).unwrap();
        (folder, opened)
    }

    #[test]
    fn every_way_to_a_file_is_found() {
        let (folder, root) = root();
        let wanted = fs::metadata(folder.path().join("a/b/file")).unwrap().ino();
        symlink("/a", folder.path().join("absolute")).unwrap();
        symlink("b/../../a/b", folder.path().join("a/relative")).unwrap();
        symlink("../../../..", folder.path().join("a/b/above")).unwrap();
        let at = |path: &str| place_below(&root, Path::new(path)).map(|file| file.metadata().unwrap().ino());
        for path in [
            "a/b/file",
            "/a//b/./file",
            "../../a/b/file",
            "absolute/b/file",
            "a/relative/file",
            "/a/b/above/a/b/file",
            "a/b/../b/file",
        ] {
            assert_eq!(at(path), Some(wanted), "{path}");
        }
        let top = fs::metadata(folder.path()).unwrap().ino();
        assert_eq!(["/", "a/..", ".."].map(at), [Some(top); 3]);
        assert_eq!(["none", "a/b/file/c", "a/b/file/none"].map(at), [None; 3]);
    }

    #[test]
    fn links_without_an_end_are_given_up() {
        let (folder, root) = root();
        symlink("loop", folder.path().join("loop")).unwrap();
        symlink("deeper/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x", folder.path().join("deeper")).unwrap();
        assert!(place_below(&root, Path::new("loop")).is_none());
        assert!(place_below(&root, Path::new("deeper")).is_none());
        let long: PathBuf = std::iter::repeat_n("a/..", 600).collect();
        assert!(place_below(&root, &long).is_none());
    }

    #[test]
    fn links_of_proc_lead_nowhere() {
        let host = File::open("/").unwrap();
        assert!(place_below(&host, Path::new("/proc/self/exe")).is_none());
        assert!(place_below(&host, Path::new(&format!("/proc/{}/root/etc", std::process::id()))).is_none());
    }
}
