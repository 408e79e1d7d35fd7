//! The guest's files as an archive that the kernel unpacks at boot: cpio "newc",
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
/// Name of the last entry.
const END: &str = "TRAILER!!!";

/// An archive being written.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds an empty folder, and those above it.
    pub(crate) fn folder(&mut self, path: &str) {
        let path = Path::new(path);
        if path.as_os_str().is_empty() || !self.folders.insert(path.to_owned()) {
            return;
        }
        if let Some(above) = path.parent().and_then(Path::to_str) {
            self.folder(above);
        }
        self.entry(&path.to_string_lossy(), FOLDER, &[]);
    }

    /// Adds an executable file; `path` is relative to the root.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        if let Some(folder) = Path::new(path).parent().and_then(Path::to_str) {
            self.folder(folder);
        }
        self.entry(path, PROGRAM, content);
    }

    /// Adds a file of this machine as an executable one.
    pub(crate) fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        self.program(path, &fs::read(from).with_context(|| format!("cannot read {}", from.display()))?);
        Ok(())
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(END, 0, &[]);
        self.bytes
    }

    /// Magic and thirteen numbers: inode, mode, uid, gid, links, mtime, size, two device numbers of the file, two of a
    /// node, length of the name, checksum. Name and content are padded to four bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (content.len() as u32, name.len() as u32 + 1);
        self.bytes.extend(b"070701");
        for number in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_entries_as_the_kernel_reads_them() {
        let mut archive = Initramfs::default();
        archive.program("bin/a", b"abc");
        let text = String::from_utf8(archive.finish()).unwrap();
        let folder = "070701\
            00000001000041ed0000000000000000000000010000000000000000\
            00000000000000000000000000000000\
            0000000400000000bin\0\0\0";
        let file = "070701\
            00000002000081ed0000000000000000000000010000000000000003\
            00000000000000000000000000000000\
            0000000600000000bin/a\0abc\0";
        assert_eq!(
            text.strip_prefix(folder).and_then(|rest| rest.strip_prefix(file)).map(|rest| &rest[110..]),
            Some("TRAILER!!!\0\0\0\0")
        );
        assert_eq!(text.len() % 4, 0);
    }

    #[test]
    fn adds_every_folder_once_and_before_what_is_in_it() {
        let mut archive = Initramfs::default();
        archive.folder("sys");
        archive.program("lib/x/a", b"");
        archive.program("lib/x/b", b"");
        let text = String::from_utf8(archive.finish()).unwrap();
        let at = |name: &str| text.find(name).unwrap();
        assert!(at("lib\0") < at("lib/x\0") && at("lib/x\0") < at("lib/x/a\0"));
        assert_eq!(text.matches("lib/x\0").count(), 1);
    }
}
