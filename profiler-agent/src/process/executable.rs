//! Executable files: found through the process that maps them, opened once, identified by their inode.

use super::elf::{self, ElfFacts, Refusal};
use super::jit::JitCode;
use super::mapping::Mapping;
use super::root::{Root, Roots, open_below, open_regular};
use super::{maps, proc};
use crate::telemetry::metrics::{Metric, Metrics};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Files kept open at most; those that no living process maps go first.
const MAX_OPEN_FILES: usize = 1024;
/// How long a file stays open that no process maps: the next run of a compiler needs it again.
const KEEP_UNUSED_NS: u64 = 600_000_000_000;

/// Processes whose own code has names at most: two open files each.
const MAX_JIT_PROCESSES: usize = 256;
/// Paths of memory that is shared through a file without a name, or through one that is no executable.
const MEMORY: [&str; 5] = ["/memfd:", "/dev/zero", "/dev/shm/", "/SYSV", "/anon_hugepage"];

/// Code that frames lie in.
#[derive(Debug)]
pub struct Executable {
    /// Unique for the agent's life.
    pub id: u32,
    /// Path as the first process that mapped it sees it, or a name in brackets.
    pub path: Arc<str>,
    /// What it is.
    pub kind: ExecutableKind,
    /// Where files that go with it are looked for: what the first process that mapped it sees.
    pub root: Root,
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
    /// Anonymous memory: code made at run time, nobody says what it is.
    Anonymous,
    /// Code that one process made and says something about.
    Jit(Arc<JitCode>),
    /// Addresses that are no code at all.
    Unmapped,
    /// A file without usable symbols.
    Refused(Refusal),
}

impl Executable {
    /// One that lies where the agent sees it.
    #[must_use]
    pub fn new(id: u32, path: Arc<str>, kind: ExecutableKind) -> Self {
        Self { id, path, kind, root: Root::default() }
    }

    /// A file by its path as this process sees it.
    ///
    /// # Errors
    /// It cannot be read, or is no ELF file.
    pub fn of_file(path: &Path) -> Result<Self, Refusal> {
        let file = File::open(path).map_err(|_| Refusal::NotFound)?;
        let facts = elf::inspect(&file)?;
        Ok(Self::new(2, Arc::from(path.to_string_lossy()), ExecutableKind::Elf { file, facts }))
    }

    /// The address that symbols of the file use for an offset in it.
    #[must_use]
    pub fn address_of(&self, file_offset: u64) -> u64 {
        match &self.kind {
            ExecutableKind::Elf { facts, .. } => facts.address_of(file_offset),
            _ => file_offset,
        }
    }

    /// The same for the offset at which a mapping of code begins.
    #[must_use]
    pub fn start_of(&self, file_offset: u64) -> u64 {
        match &self.kind {
            ExecutableKind::Elf { facts, .. } => facts.start_of(file_offset),
            _ => file_offset,
        }
    }

    /// Whether no folder has the file any more.
    fn is_deleted(&self) -> bool {
        match &self.kind {
            ExecutableKind::Elf { file, .. } => file.metadata().is_ok_and(|metadata| metadata.nlink() == 0),
            _ => false,
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
    /// Since when nobody was seen to need it.
    unused_ns: Option<u64>,
}

impl Known {
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.executable) > 1
    }
}

/// All executables with a frame.
pub struct Executables {
    files: HashMap<FileKey, Known>,
    /// Without a file, by name.
    named: HashMap<Arc<str>, Arc<Executable>>,
    kernel: Arc<Executable>,
    unmapped: Arc<Executable>,
    /// Code of single processes, as long as somebody needs it.
    jit: Vec<Weak<Executable>>,
    next_id: u32,
    roots: Roots,
    metrics: Arc<Metrics>,
}

impl Executables {
    /// None but the kernel.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let kernel = Executable::new(0, Arc::from("[kernel]"), ExecutableKind::Kernel);
        let unmapped = Executable::new(1, Arc::from("[unknown]"), ExecutableKind::Unmapped);
        Self {
            files: HashMap::new(),
            named: HashMap::new(),
            kernel: Arc::new(kernel),
            unmapped: Arc::new(unmapped),
            jit: Vec::new(),
            next_id: 2,
            roots: Roots::default(),
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
        let (kind, stamp, through) = match open(pid, mapping, roots) {
            Ok(Opened { file, stamp, through }) => match elf::inspect(&file) {
                Ok(facts) => (ExecutableKind::Elf { file, facts }, Some(stamp), through),
                Err(refusal) => (ExecutableKind::Refused(refusal), Some(stamp), through),
            },
            Err(refusal) => (ExecutableKind::Refused(refusal), None, pid),
        };
        if let ExecutableKind::Refused(Refusal::Malformed | Refusal::NotFound) = &kind
            && is_memory(mapping, stamp)
        {
            return self.bind_named(&Arc::from("[anon]"));
        }
        if let ExecutableKind::Refused(refusal) = &kind {
            self.metrics.add(Metric::FilesRefused, refusal.label(), 1);
        }
        // Not a relative's when this process is gone meanwhile: it may see other files.
        let root = self.roots.of(through);
        // What was not found may be found through another process.
        let is_lasting = stamp.is_some() && !root.is_gone();
        let executable = self.make(&mapping.path, kind, root);
        self.evict();
        if is_lasting {
            self.files.insert(mapping.key, Known { executable: Arc::clone(&executable), stamp, unused_ns: None });
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
        let executable = self.make(&Arc::from(name), kind, Root::default());
        self.named.insert(Arc::from(name), Arc::clone(&executable));
        executable
    }

    /// Stands for the code of one process; none when too many processes have some.
    pub(super) fn make_jit(&mut self, code: JitCode) -> Option<Arc<Executable>> {
        self.jit.retain(|executable| executable.strong_count() > 0);
        if self.jit.len() >= MAX_JIT_PROCESSES {
            return None;
        }
        let executable = self.make(&Arc::from("[anon]"), ExecutableKind::Jit(Arc::new(code)), Root::default());
        self.jit.push(Arc::downgrade(&executable));
        Some(executable)
    }

    fn make(&mut self, path: &Arc<str>, kind: ExecutableKind, root: Root) -> Arc<Executable> {
        let id = self.next_id;
        self.next_id += 1;
        Arc::new(Executable { id, path: Arc::clone(path), kind, root })
    }

    /// Closes files that nobody has needed for long, and deleted ones that nobody needs: their disk space is free only
    /// then.
    pub(super) fn close_unused(&mut self, now_ns: u64) {
        self.files.retain(|_, known| {
            if known.is_used() {
                known.unused_ns = None;
                return true;
            }
            let unused_ns = *known.unused_ns.get_or_insert(now_ns);
            unused_ns + KEEP_UNUSED_NS > now_ns && !known.executable.is_deleted()
        });
    }

    /// Files that nothing refers to any more make room.
    fn evict(&mut self) {
        if self.files.len() >= MAX_OPEN_FILES {
            self.files.retain(|_, known| known.is_used());
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

/// The file behind a mapping.
struct Opened {
    file: File,
    stamp: Stamp,
    /// The process below whose root it was found.
    through: u32,
}

/// Opens the file behind a mapping and makes sure that it is that file.
fn open(pid: u32, mapping: &Mapping, roots: &[u32]) -> Result<Opened, Refusal> {
    let through_mapping = PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end));
    let is_mapped = |metadata: &Metadata| metadata.ino() == mapping.key.inode || is_still_mapped(pid, mapping);
    let opened = match open_regular(&through_mapping, is_mapped) {
        Ok(file) => Some((file, pid)),
        // A device: it is what is mapped, and no path leads to anything else.
        Err(Some(refusal)) => return Err(refusal),
        Err(None) => {
            let path = Path::new(&*mapping.path);
            // Below the root: a folder that was replaced by a link since may lead anywhere on the host otherwise.
            let below = |&root: &u32| Some((open_below(root, path, |metadata| is_same(metadata, mapping))?, root));
            roots.iter().find_map(below)
        }
    };
    let (file, through) = opened.ok_or(Refusal::NotFound)?;
    let stamp = Stamp::of(&file).ok_or(Refusal::NotFound)?;
    Ok(Opened { file, stamp, through })
}

/// The file behind a mapping.
pub(super) fn open_mapped(pid: u32, mapping: &Mapping, roots: &[u32]) -> Option<File> {
    open(pid, mapping, roots).ok().map(|opened| opened.file)
}

/// Whether a mapping that is no executable file is memory with code in it. `stamp` is that of the file, where it could
/// be opened: a device cannot.
fn is_memory(mapping: &Mapping, stamp: Option<Stamp>) -> bool {
    let named = MEMORY.iter().any(|prefix| mapping.path.starts_with(prefix));
    named && (stamp.is_some() || &*mapping.path != "/dev/zero")
}

/// Whether a process maps what it mapped: libraries that are opened in turn come to the very same addresses.
fn is_still_mapped(pid: u32, mapping: &Mapping) -> bool {
    let text = proc::maps(pid).unwrap_or_default();
    maps::parse(&text).find(mapping.start).is_some_and(|now| now.key == mapping.key)
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
    fn a_file_that_came_where_another_was_is_not_taken_for_it() {
        let pid = std::process::id();
        let mappings = maps::parse(&proc::maps(pid).unwrap());
        let libc = mappings.iter().find(|mapping| mapping.path.ends_with("/libc.so.6")).unwrap();
        let own = mappings.first_file().unwrap();
        let before = Mapping { start: libc.start, end: libc.end, ..own.clone() };
        let inode = |file: Option<File>| file.map(|file| file.metadata().unwrap().ino());
        let expected = std::fs::metadata(&*own.path).unwrap().ino();
        assert_eq!(inode(open_mapped(pid, &before, &[pid])), Some(expected));
        assert_eq!(inode(open_mapped(pid, &before, &[])), None);
        assert!(open_mapped(pid, libc, &[]).is_some());
    }

    /// A copy of this process's program, as if it mapped that.
    fn bound(executables: &mut Executables, path: &Path) -> Arc<Executable> {
        std::fs::copy("/proc/self/exe", path).unwrap();
        let metadata = path.metadata().unwrap();
        let key = FileKey { device: metadata.dev(), inode: metadata.ino() };
        let path = Arc::from(path.to_str().unwrap());
        let mapping =
            Mapping { start: 0, end: 4096, file_offset: 0, key, path, mapped_after_s: None, executable: None };
        executables.bind(std::process::id(), &mapping, &[std::process::id()])
    }

    #[test]
    fn files_that_nobody_needs_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let mut executables = Executables::new(Arc::default());
        let used = bound(&mut executables, &folder.path().join("used"));
        let [unused, deleted] = ["unused", "deleted"].map(|name| folder.path().join(name));
        for path in [&unused, &deleted] {
            assert!(matches!(bound(&mut executables, path).kind, ExecutableKind::Elf { .. }));
        }
        std::fs::remove_file(&deleted).unwrap();
        let mut left = |now_ns| {
            executables.close_unused(now_ns);
            executables.files.len()
        };
        assert_eq!(left(1), 2);
        assert_eq!(left(KEEP_UNUSED_NS), 2);
        assert_eq!(left(KEEP_UNUSED_NS + 1), 1);
        assert_eq!(&*used.path, folder.path().join("used").to_str().unwrap());
    }

    #[test]
    fn reads_the_vdso() {
        assert!(matches!(vdso(), ExecutableKind::Elf { .. }));
    }
}
