//! The files of one folder, as few operations as the spool needs: where tests put their faults.

use super::SpoolError;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::Path;

/// Only the agent's user.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const LOCK: &str = "lock";

/// The files of one folder, by name. Errors are the operating system's.
pub trait Disk: Send {
    /// Names of all files.
    fn names(&mut self) -> io::Result<Vec<String>>;
    /// Bytes of a regular file.
    fn size(&mut self, name: &str) -> io::Result<u64>;
    /// Reads from an offset; how many bytes, 0 at the end.
    fn read(&mut self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Makes an empty file where none is.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes at an offset of a file that exists; how many bytes.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// What was written to a file is on the disk.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Gives a file another name, which may be another's.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// What was created, renamed and removed is so on the disk.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// A folder, held open: what happens to its path does not matter. Nothing in it is followed elsewhere.
#[derive(Debug)]
pub struct Folder {
    folder: File,
    _lock: File,
    /// The file used last, and whether it is open for writing.
    open: Option<(String, File, Access)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Folder {
    /// Opens a folder, made where there is none (mode 0700), for this process alone.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let name = path.display().to_string();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE).create(path).map_err(SpoolError::io("make folder", &name))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
        let folder = File::from(folder.map_err(SpoolError::io("open folder", &name))?);
        let lock = open_at(&folder, LOCK, OFlags::RDWR | OFlags::CREATE).map_err(SpoolError::io("open", LOCK))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder, _lock: lock, open: None }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(SpoolError::Locked { folder: path.to_owned() }),
            Err(error) => Err(SpoolError::io("lock", LOCK)(error.into())),
        }
    }

    /// A file, open at least for reading or for reading and writing. One that lost its name is not used any more.
    fn file(&mut self, name: &str, access: Access) -> io::Result<&File> {
        let usable = self.open.take().filter(|(open, file, for_what)| {
            let enough = *for_what == Access::Write || access == Access::Read;
            open == name && enough && file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
        });
        let open = match usable {
            Some(open) => open,
            None => {
                let flags = if access == Access::Read { OFlags::RDONLY } else { OFlags::RDWR };
                (name.to_owned(), open_at(&self.folder, name, flags)?, access)
            }
        };
        Ok(&self.open.insert(open).1)
    }
}

impl Disk for Folder {
    fn names(&mut self) -> io::Result<Vec<String>> {
        let name = |entry: rustix::io::Result<rustix::fs::DirEntry>| match entry {
            Ok(entry) => entry.file_name().to_str().ok().map(|name| Ok(name.to_owned())),
            Err(error) => Some(Err(error.into())),
        };
        Dir::read_from(&self.folder)?.filter_map(name).collect()
    }

    fn size(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.file(name, Access::Read)?.metadata()?.len())
    }

    fn read(&mut self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file(name, Access::Read)?.read_at(buffer, offset)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = open_at(&self.folder, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        self.open = Some((name.to_owned(), file, Access::Write));
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file(name, Access::Write)?.write_at(bytes, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name, Access::Write)?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open = None;
        Ok(rustix::fs::renameat(&self.folder, from, &self.folder, to)?)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open = None;
        Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

/// Opens a regular file, no link to one; without waiting, whatever it is.
fn open_at(folder: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(FILE_MODE))?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::other(format!("{name} is no regular file")));
    }
    Ok(File::from(file))
}
