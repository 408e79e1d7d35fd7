//! A folder of files by build ID, bounded in bytes: what was not used for longest goes first.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder; nobody else may write to it.
pub(super) struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    /// Where a file stands while it comes, one at a time; another agent may use the same folder.
    part: PathBuf,
}

impl Cache {
    /// Makes the folder, for this user alone.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let metadata = std::fs::symlink_metadata(folder)?;
        let is_own = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_own || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write to it"));
        }
        let part = folder.join(format!("{:016x}.part", rand::random::<u64>()));
        let cache = Self { folder: folder.to_owned(), max_bytes, part };
        cache.evict()?;
        Ok(cache)
    }

    /// The file of a build ID; using it keeps it.
    pub(super) fn get(&self, build_id: &str) -> Option<File> {
        let file = File::open(self.path(build_id)).ok()?;
        // For the order alone: a disk that is read-only by now has no say in whether the file is good.
        let _ = file.set_modified(SystemTime::now());
        Some(file)
    }

    /// An empty file for what comes.
    pub(super) fn part(&self) -> io::Result<File> {
        match std::fs::remove_file(&self.part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&self.part)
    }

    /// What came is the file of this build ID.
    pub(super) fn put(&self, build_id: &str) -> io::Result<()> {
        std::fs::rename(&self.part, self.path(build_id))?;
        self.evict()
    }

    fn path(&self, build_id: &str) -> PathBuf {
        self.folder.join(build_id).with_extension("debug")
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((metadata.modified()?, metadata.blocks() * 512, entry.path()));
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in files {
            if bytes <= self.max_bytes {
                break;
            }
            std::fs::remove_file(path)?;
            bytes -= size;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    fn put(cache: &Cache, build_id: &str, age_s: u64) {
        let mut file = cache.part().unwrap();
        file.write_all(&[1; 8192]).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        cache.put(build_id).unwrap();
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("a/b"), 3 * 8192).unwrap();
        put(&cache, "aaaa", 300);
        put(&cache, "bbbb", 200);
        put(&cache, "cccc", 100);
        assert!(cache.get("aaaa").is_some());
        put(&cache, "dddd", 0);
        let kept = ["aaaa", "bbbb", "cccc", "dddd"].map(|build_id| cache.get(build_id).is_some());
        assert_eq!(kept, [true, false, true, true]);
        // One left over from a request that failed.
        drop(cache.part().unwrap());
        assert!(cache.part().is_ok());
        let again = Cache::open(&folder.path().join("a/b"), 8192).unwrap();
        assert_eq!(["aaaa", "cccc", "dddd"].iter().filter(|build_id| again.get(build_id).is_some()).count(), 1);
    }

    #[test]
    fn the_folder_is_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        Cache::open(&made, 1).unwrap();
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(&made, 1).is_err());
        std::os::unix::fs::symlink("/tmp", folder.path().join("link")).unwrap();
        assert!(Cache::open(&folder.path().join("link"), 1).is_err());
    }
}
