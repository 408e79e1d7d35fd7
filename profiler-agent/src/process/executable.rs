//! Executable files: found through the process that maps them, opened once, identified by their inode.

use super::elf::{self, ElfFacts, Refusal};
use super::mapping::Mapping;
use super::{maps, proc};
use crate::telemetry::metrics::{Metric, Metrics};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files kept open at most; those that no living process maps go first.
const MAX_OPEN_FILES: usize = 1024;

/// Code that frames lie in.
#[derive(Debug)]
pub struct Executable {
    /// Unique for the agent's life.
    pub id: u32,
    /// Path as the first process that mapped it sees it, or a name in brackets.
    pub path: Arc<str>,
    /// What it is.
    pub kind: ExecutableKind,
}

/// What an [`Executable`] is.
#[derive(Debug)]
pub enum ExecutableKind {
    /// A readable ELF file.
    Elf {
        /// The open file.
        file: File,
        /// What its headers say.
        facts: ElfFacts,
    },
    /// The running kernel and its modules.
    Kernel,
    /// Anonymous memory: code made at run time.
    Anonymous,
    /// Addresses that are no code at all.
    Unmapped,
    /// A file without usable symbols.
    Refused(Refusal),
}

impl Executable {
    /// The address that symbols of the file use for an offset in it.
    #[must_use]
    pub fn address_of(&self, file_offset: u64) -> u64 {
        match &self.kind {
            ExecutableKind::Elf { facts, .. } => facts.address_of(file_offset),
            _ => file_offset,
        }
    }

    /// GNU build ID in lower-case hexadecimal, empty when there is none.
    #[must_use]
    pub fn build_id(&self) -> Arc<str> {
        match &self.kind {
            ExecutableKind::Elf { facts, .. } => Arc::clone(&facts.build_id),
            _ => Arc::from(""),
        }
    }
}

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Device number as mappings show it.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// What changes when a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl Stamp {
    fn of(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        Some(Self { size: metadata.size(), changed_s: metadata.ctime(), changed_ns: metadata.ctime_nsec() })
    }
}

struct Known {
    executable: Arc<Executable>,
    stamp: Option<Stamp>,
}

/// All executables with a frame.
pub struct Executables {
    files: HashMap<FileKey, Known>,
    /// Without a file, by name.
    named: HashMap<Arc<str>, Arc<Executable>>,
    kernel: Arc<Executable>,
    unmapped: Arc<Executable>,
    next_id: u32,
    metrics: Arc<Metrics>,
}

impl Executables {
    /// None but the kernel.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let kernel = Executable { id: 0, path: Arc::from("[kernel]"), kind: ExecutableKind::Kernel };
        let unmapped = Executable { id: 1, path: Arc::from("[unknown]"), kind: ExecutableKind::Unmapped };
        Self {
            files: HashMap::new(),
            named: HashMap::new(),
            kernel: Arc::new(kernel),
            unmapped: Arc::new(unmapped),
            next_id: 2,
            metrics,
        }
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> Arc<Executable> {
        Arc::clone(&self.kernel)
    }

    /// Addresses that are no code.
    #[must_use]
    pub fn unmapped(&self) -> Arc<Executable> {
        Arc::clone(&self.unmapped)
    }

    /// What a mapping maps. `roots` are folders through which its path may be found: of the process itself, then of
    /// relatives that may still live.
    pub fn bind(&mut self, pid: u32, mapping: &Mapping, roots: &[u32]) -> Arc<Executable> {
        if mapping.key.inode == 0 {
            return self.bind_named(&mapping.path);
        }
        if let Some(known) = self.files.get(&mapping.key)
            && is_current(known)
        {
            return Arc::clone(&known.executable);
        }
        let (kind, stamp) = match open(pid, mapping, roots) {
            Ok((file, stamp)) => match elf::inspect(&file) {
                Ok(facts) => (ExecutableKind::Elf { file, facts }, Some(stamp)),
                Err(refusal) => (ExecutableKind::Refused(refusal), Some(stamp)),
            },
            Err(refusal) => (ExecutableKind::Refused(refusal), None),
        };
        if let ExecutableKind::Refused(refusal) = &kind {
            self.metrics.add(Metric::FilesRefused, refusal.label(), 1);
        }
        let executable = self.make(&mapping.path, kind);
        self.evict();
        // A file that was not found may be found through another process.
        if stamp.is_some() {
            self.files.insert(mapping.key, Known { executable: Arc::clone(&executable), stamp });
        }
        executable
    }

    /// The file of a mapping, if it is known already.
    #[must_use]
    pub fn known(&self, mapping: &Mapping) -> Option<Arc<Executable>> {
        self.files.get(&mapping.key).filter(|known| is_current(known)).map(|known| Arc::clone(&known.executable))
    }

    fn bind_named(&mut self, path: &Arc<str>) -> Arc<Executable> {
        let name = match &**path {
            "[vdso]" => "[vdso]",
            "[vsyscall]" => "[vsyscall]",
            _ => "[anon]",
        };
        if let Some(known) = self.named.get(name) {
            return Arc::clone(known);
        }
        let kind = if name == "[vdso]" { vdso() } else { ExecutableKind::Anonymous };
        let executable = self.make(&Arc::from(name), kind);
        self.named.insert(Arc::from(name), Arc::clone(&executable));
        executable
    }

    fn make(&mut self, path: &Arc<str>, kind: ExecutableKind) -> Arc<Executable> {
        let id = self.next_id;
        self.next_id += 1;
        Arc::new(Executable { id, path: Arc::clone(path), kind })
    }

    /// Files that nothing refers to any more make room.
    fn evict(&mut self) {
        if self.files.len() >= MAX_OPEN_FILES {
            self.files.retain(|_, known| Arc::strong_count(&known.executable) > 1);
        }
        if self.files.len() >= MAX_OPEN_FILES {
            // All in use: begin anew; living mappings keep theirs.
            self.files.clear();
        }
    }
}

/// Whether the file is still what it was when it was looked at.
fn is_current(known: &Known) -> bool {
    match &known.executable.kind {
        ExecutableKind::Elf { file, .. } => Stamp::of(file) == known.stamp,
        // Looked at again with each process: it may have been written meanwhile.
        _ => false,
    }
}

/// Opens the file behind a mapping and makes sure that it is that file.
fn open(pid: u32, mapping: &Mapping, roots: &[u32]) -> Result<(File, Stamp), Refusal> {
    let through_mapping = PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end));
    let opened = match open_regular(&through_mapping, |_| true) {
        Ok(file) => Some(file),
        // A device: it is what is mapped, and no path leads to anything else.
        Err(Some(refusal)) => return Err(refusal),
        Err(None) => {
            let path = mapping.path.trim_start_matches('/');
            let through = |root: &u32| {
                let path = PathBuf::from(format!("/proc/{root}/root/{path}"));
                open_regular(&path, |metadata| is_same(metadata, mapping)).ok()
            };
            roots.iter().find_map(through)
        }
    };
    let file = opened.ok_or(Refusal::NotFound)?;
    let stamp = Stamp::of(&file).ok_or(Refusal::NotFound)?;
    Ok((file, stamp))
}

/// Opens a regular file that is wanted. What it is shows before it is opened: opening a fifo waits for its writer, and
/// opening a device does whatever its driver likes. An error without a reason: nothing there, or not what is wanted.
fn open_regular(path: &Path, wanted: impl Fn(&Metadata) -> bool) -> Result<File, Option<Refusal>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|_| None)?);
    let metadata = place.metadata().map_err(|_| None)?;
    if !metadata.is_file() {
        return Err(Some(Refusal::Malformed));
    }
    if !wanted(&metadata) {
        return Err(None);
    }
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).map_err(|_| None)
}

/// The inode decides. File systems made of layers show another one in mappings than in `stat`: there a file that has
/// not changed since it was mapped is the same.
fn is_same(metadata: &Metadata, mapping: &Mapping) -> bool {
    metadata.ino() == mapping.key.inode || mapping.mapped_after_s.is_some_and(|mapped| metadata.ctime() < mapped)
}

/// The kernel's code in every process: the same in all, so that this process's own is read.
fn vdso() -> ExecutableKind {
    let image = || {
        let mappings = maps::parse(&proc::maps(std::process::id())?);
        let mapping = mappings.find_path("[vdso]")?;
        let mut bytes = vec![0; usize::try_from(mapping.end - mapping.start).ok()?];
        File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, mapping.start).ok()?;
        let mut file = File::from(rustix::fs::memfd_create("vdso", rustix::fs::MemfdFlags::CLOEXEC).ok()?);
        file.write_all(&bytes).ok()?;
        Some(file)
    };
    let Some(file) = image() else { return ExecutableKind::Refused(Refusal::NotFound) };
    match elf::inspect(&file) {
        Ok(facts) => ExecutableKind::Elf { file, facts },
        Err(refusal) => ExecutableKind::Refused(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_neither_fifos_nor_devices() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), folder.path()] {
            assert_eq!(open_regular(path, |_| true).err(), Some(Some(Refusal::Malformed)), "{}", path.display());
        }
        assert_eq!(open_regular(&folder.path().join("none"), |_| true).err(), Some(None));
        assert!(open_regular(Path::new("/proc/self/exe"), |_| true).is_ok());
    }

    #[test]
    fn reads_the_vdso() {
        assert!(matches!(vdso(), ExecutableKind::Elf { .. }));
    }
}
