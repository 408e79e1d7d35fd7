//! Files that go with an executable: separate debug info, and what several of those share.
//!
//! They are looked for as the process sees them, below its own root, then below the agent's. Where both files have a
//! build ID it must be the same; without, the checksum of the link must be right.

use super::sections::Sections;
use crate::process::{Executable, Root};
use gimli::RunTimeEndian;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

/// Where distributions put debug info.
const DEBUG_FOLDER: &str = "/usr/lib/debug";
/// A link is a name and a number.
const MAX_LINK_BYTES: u64 = 4096;
/// Largest file whose checksum is computed; larger ones are found by build ID.
const MAX_CHECKSUM_BYTES: u64 = 256 << 20;
const PIECE_BYTES: usize = 256 << 10;

/// How a file with debug info was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// It is the executable.
    Itself,
    /// Its name is the executable's build ID.
    BuildId,
    /// `.gnu_debuglink` has its name.
    DebugLink,
}

/// A file with debug info.
pub(in crate::symbolize) struct Located {
    pub(in crate::symbolize) file: File,
    /// How it was found.
    pub(super) found_by: FoundBy,
    /// Where it is, below that root.
    pub(super) path: PathBuf,
    root: Root,
    pub(super) sections: Sections,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::symbolize) enum Missing {
    /// Nothing there.
    NotFound,
    /// There, but of another build.
    Mismatch,
}

impl Missing {
    /// What weighs more.
    fn or(self, other: Self) -> Self {
        if self == Self::Mismatch { self } else { other }
    }
}

/// Where a file is looked for, and below which folder.
struct Place {
    root: Root,
    below: &'static str,
}

impl Place {
    /// What a process sees; then what the agent sees, but of that only where debug info is kept: a process decides
    /// what its files are called and what their links say, and must not lead the agent to a file that it cannot name.
    fn all(first: &Root) -> impl Iterator<Item = Self> {
        let own = (!first.is_own()).then(|| Self { root: Root::default(), below: DEBUG_FOLDER });
        std::iter::once(Self { root: first.clone(), below: "/" }).chain(own)
    }

    /// Whether it may be looked for here. A path that leads up again is none of a distribution's.
    fn has(&self, path: &Path) -> bool {
        let leads_up = || path.components().any(|part| part == Component::ParentDir);
        self.below == "/" || path.starts_with(self.below) && !leads_up()
    }
}

/// The executable itself.
pub(super) fn itself(executable: &Executable, file: &File, sections: Sections) -> Option<Located> {
    let (path, root) = (PathBuf::from(&*executable.path), executable.root.clone());
    Some(Located { file: file.try_clone().ok()?, found_by: FoundBy::Itself, path, root, sections })
}

/// The separate debug info of a file.
pub(super) fn separate(executable: &Executable, file: &File, sections: &Sections) -> Result<Located, Missing> {
    let link = debug_link(file, sections);
    let folder = Path::new(&*executable.path).parent().unwrap_or(Path::new("/"));
    let mut missing = Missing::NotFound;
    for place in Place::all(&executable.root) {
        let by_id = by_build_id(&sections.build_id).map(|path| (path, None));
        let by_link = link.iter().flat_map(|link| link.paths(folder).map(|path| (path, Some(link.checksum))));
        for (path, checksum) in by_id.into_iter().chain(by_link).filter(|(path, _)| place.has(path)) {
            match open(&place.root, path, &sections.build_id, checksum, file) {
                Ok(located) => return Ok(located),
                Err(why) => missing = missing.or(why),
            }
        }
    }
    Err(missing)
}

/// The file that this one shares names with, when it says that there is one.
pub(super) fn supplement(located: &Located) -> Option<Result<Located, Missing>> {
    let section = located.sections.get(".gnu_debugaltlink")?;
    let content = section.unpack(&located.file, MAX_LINK_BYTES).ok()?;
    let end = content.iter().position(|&byte| byte == 0)?;
    let (name, build_id) = (Path::new(OsStr::from_bytes(&content[..end])), &content[end + 1..]);
    let folder = located.path.parent().unwrap_or(Path::new("/"));
    let mut missing = Missing::NotFound;
    for place in Place::all(&located.root) {
        let paths = [Some(folder.join(name)), by_build_id(build_id)].into_iter().flatten();
        for path in paths.filter(|path| place.has(path)) {
            match open(&place.root, path, build_id, None, &located.file) {
                Ok(located) => return Some(Ok(located)),
                Err(why) => missing = missing.or(why),
            }
        }
    }
    Some(Err(missing))
}

/// The build ID of the file that this one shares names with.
pub(super) fn supplement_id(located: &Located) -> Option<Vec<u8>> {
    let content = located.sections.get(".gnu_debugaltlink")?.unpack(&located.file, MAX_LINK_BYTES).ok()?;
    let end = content.iter().position(|&byte| byte == 0)?;
    Some(content[end + 1..].to_vec())
}

/// What a server sent for a build ID.
pub(super) fn fetched(file: File, build_id: &[u8]) -> Result<Located, Missing> {
    let sections = Sections::read(&file).map_err(|_| Missing::Mismatch)?;
    let is_right = sections.build_id == build_id;
    let located = Located { file, found_by: FoundBy::BuildId, path: PathBuf::new(), root: Root::default(), sections };
    if is_right { Ok(located) } else { Err(Missing::Mismatch) }
}

/// `/usr/lib/debug/.build-id/ab/cdef….debug`.
fn by_build_id(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(PathBuf::from(format!("{DEBUG_FOLDER}/.build-id/{first:02x}/{rest}.debug")))
}

/// `.gnu_debuglink`: the name of a file and its CRC-32.
struct DebugLink {
    name: PathBuf,
    checksum: u32,
}

impl DebugLink {
    /// Where debuggers look, in their order.
    fn paths(&self, folder: &Path) -> [PathBuf; 3] {
        let below = folder.strip_prefix("/").unwrap_or(folder);
        [
            folder.join(&self.name),
            folder.join(".debug").join(&self.name),
            Path::new(DEBUG_FOLDER).join(below).join(&self.name),
        ]
    }
}

fn debug_link(file: &File, sections: &Sections) -> Option<DebugLink> {
    let content = sections.get(".gnu_debuglink")?.unpack(file, MAX_LINK_BYTES).ok()?;
    let end = content.iter().position(|&byte| byte == 0)?;
    let name = PathBuf::from(OsStr::from_bytes(&content[..end]));
    let is_name = name.file_name() == Some(name.as_os_str());
    // The number follows at the next multiple of four.
    let at = (end + 1).next_multiple_of(4);
    let number = <[u8; 4]>::try_from(content.get(at..at + 4)?).ok()?;
    let checksum = match sections.endian {
        RunTimeEndian::Little => u32::from_le_bytes(number),
        RunTimeEndian::Big => u32::from_be_bytes(number),
    };
    is_name.then_some(DebugLink { name, checksum })
}

/// Opens a candidate and makes sure that it is of the same build, and not the file `of` itself.
fn open(root: &Root, path: PathBuf, build_id: &[u8], checksum: Option<u32>, of: &File) -> Result<Located, Missing> {
    let file = root.open(&path).ok_or(Missing::NotFound)?;
    if is_same(&file, of) {
        return Err(Missing::NotFound);
    }
    let sections = Sections::read(&file).map_err(|_| Missing::Mismatch)?;
    let is_right = if build_id.is_empty() || sections.build_id.is_empty() {
        checksum.is_some_and(|checksum| self::checksum(&file) == Some(checksum))
    } else {
        build_id == sections.build_id
    };
    let found_by = if checksum.is_some() { FoundBy::DebugLink } else { FoundBy::BuildId };
    let located = Located { file, found_by, path, root: root.clone(), sections };
    if is_right { Ok(located) } else { Err(Missing::Mismatch) }
}

fn is_same(file: &File, other: &File) -> bool {
    let key = |file: &File| file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    key(file) == key(other)
}

/// CRC-32 of the whole file; none when it is too large.
fn checksum(file: &File) -> Option<u32> {
    if file.metadata().ok()?.len() > MAX_CHECKSUM_BYTES {
        return None;
    }
    let (mut hasher, mut piece, mut at) = (crc32fast::Hasher::new(), vec![0; PIECE_BYTES], 0);
    // What grows while it is read ends here, too.
    while at <= MAX_CHECKSUM_BYTES {
        let count = file.read_at(&mut piece, at).ok()?;
        if count == 0 {
            break;
        }
        hasher.update(&piece[..count]);
        at += count as u64;
    }
    Some(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_debuggers() {
        assert_eq!(by_build_id(&[0xab]), None);
        let path = by_build_id(&[0xab, 0xcd, 0x01]).unwrap();
        assert_eq!(path, Path::new("/usr/lib/debug/.build-id/ab/cd01.debug"));
        let link = DebugLink { name: PathBuf::from("a.debug"), checksum: 0 };
        let paths = link.paths(Path::new("/usr/bin")).map(|path| path.display().to_string());
        assert_eq!(paths, ["/usr/bin/a.debug", "/usr/bin/.debug/a.debug", "/usr/lib/debug/usr/bin/a.debug"]);
    }

    #[test]
    fn a_process_leads_the_agent_to_no_file_of_the_host() {
        assert_eq!(Place::all(&Root::default()).map(|place| place.below).collect::<Vec<_>>(), ["/"]);
        let places: Vec<Place> = Place::all(&Root::gone()).collect();
        assert_eq!(places.iter().map(|place| place.below).collect::<Vec<_>>(), ["/", DEBUG_FOLDER]);
        let allowed = |path: &str| places[1].has(Path::new(path));
        assert!(allowed("/usr/lib/debug/.build-id/ab/cd.debug") && allowed("/usr/lib/debug/.dwz/x86_64/a.debug"));
        for path in ["/etc/shadow", "/usr/lib/debug/../../../etc/shadow", "/usr/lib/debugger", "usr/lib/debug/a"] {
            assert!(!allowed(path), "{path}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_gdb() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "123456789").unwrap();
        assert_eq!(checksum(file.as_file()), Some(0xcbf4_3926));
    }
}
