//! The headers of an ELF file, read with bounds: load segments and build ID. Everything else is the symbolizer's.

use object::elf::{self as format, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};
use std::fmt::Write as _;
use std::fs::File;
use std::sync::Arc;

/// More load segments than any linker makes.
const MAX_SEGMENTS: usize = 256;
/// Program headers looked at.
const MAX_PROGRAM_HEADERS: u16 = 4096;
/// A build ID is 20 bytes by default and 64 at most.
const MAX_BUILD_ID_BYTES: usize = 64;
/// Note segments are small.
const MAX_NOTE_BYTES: u64 = 64 << 10;

/// Why a file gives no symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not found, or another file has its place now.
    #[error("the file was not found")]
    NotFound,
    /// Not an ELF file, or cut short.
    #[error("the file is not a readable ELF file")]
    Malformed,
    /// Beyond what is looked at.
    #[error("the file is larger than what is looked at")]
    TooLarge,
}

impl Refusal {
    /// The label value in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
        }
    }
}

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfFacts {
    segments: Vec<Segment>,
    /// GNU build ID in lower-case hexadecimal, empty when there is none.
    pub build_id: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    file_offset: u64,
    file_bytes: u64,
    address: u64,
    is_executable: bool,
}

impl Segment {
    fn address_of(&self, file_offset: u64) -> u64 {
        self.address.wrapping_sub(self.file_offset).wrapping_add(file_offset)
    }

    fn holds(&self, file_offset: u64) -> bool {
        (self.file_offset..self.file_offset.saturating_add(self.file_bytes)).contains(&file_offset)
    }

    /// The kernel maps whole pages: an offset just below a segment belongs to it, too.
    fn holds_page_of(&self, file_offset: u64) -> bool {
        let start = self.file_offset - self.file_offset % 4096;
        (start..self.file_offset.saturating_add(self.file_bytes)).contains(&file_offset)
    }
}

impl ElfFacts {
    /// The address that symbols use for an offset in the file at which there is code.
    #[must_use]
    pub fn address_of(&self, file_offset: u64) -> u64 {
        let within = self.segments.iter().find(|segment| segment.is_executable && segment.holds(file_offset));
        within.map_or_else(|| self.start_of(file_offset), |segment| segment.address_of(file_offset))
    }

    /// The same for the offset at which a mapping of code begins: in a page that two segments share, it is the later
    /// one's.
    #[must_use]
    pub fn start_of(&self, file_offset: u64) -> u64 {
        let holding = self.segments.iter().filter(|segment| segment.holds_page_of(file_offset));
        let segment = holding.max_by_key(|segment| (segment.is_executable, segment.file_offset));
        segment.map_or(file_offset, |segment| segment.address_of(file_offset))
    }
}

/// Reads the headers.
pub(crate) fn inspect(file: &File) -> Result<ElfFacts, Refusal> {
    let cache = ReadCache::new(file);
    let ident = cache.read_bytes_at(0, 16).map_err(|()| Refusal::Malformed)?;
    match (&ident[..4], format::FileClass(ident[4])) {
        (b"\x7fELF", format::ELFCLASS64) => inspect_class::<FileHeader64<Endianness>, _>(&cache),
        (b"\x7fELF", format::ELFCLASS32) => inspect_class::<FileHeader32<Endianness>, _>(&cache),
        _ => Err(Refusal::Malformed),
    }
}

fn inspect_class<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Result<ElfFacts, Refusal> {
    let header = H::parse(data).map_err(|_| Refusal::Malformed)?;
    let endian = header.endian().map_err(|_| Refusal::Malformed)?;
    if header.e_phnum(endian) > MAX_PROGRAM_HEADERS {
        return Err(Refusal::TooLarge);
    }
    let headers = header.program_headers(endian, data).map_err(|_| Refusal::Malformed)?;
    let loads = headers.iter().filter(|segment| segment.p_type(endian) == format::PT_LOAD);
    let segments: Vec<Segment> = loads
        .take(MAX_SEGMENTS)
        .map(|segment| Segment {
            file_offset: segment.p_offset(endian).into(),
            file_bytes: segment.p_filesz(endian).into(),
            address: segment.p_vaddr(endian).into(),
            is_executable: segment.p_flags(endian).contains(format::PF_X),
        })
        .collect();
    if segments.is_empty() {
        return Err(Refusal::Malformed);
    }
    let build_id = headers.iter().find_map(|segment| build_id::<H, R>(segment, endian, data)).unwrap_or_default();
    Ok(ElfFacts { segments, build_id: Arc::from(build_id) })
}

fn build_id<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(
    segment: &H::ProgramHeader,
    endian: Endianness,
    data: R,
) -> Option<String> {
    if segment.p_filesz(endian).into() > MAX_NOTE_BYTES {
        return None;
    }
    let mut notes = segment.notes(endian, data).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == b"GNU" && note.n_type(endian) == format::NT_GNU_BUILD_ID {
            let bytes = &note.desc()[..note.desc().len().min(MAX_BUILD_ID_BYTES)];
            return Some(bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn reads_the_test_program_itself() {
        let file = File::open("/proc/self/exe").unwrap();
        assert!(!inspect(&file).unwrap().segments.is_empty());
    }

    #[test]
    fn refuses_garbage_empty_truncated_and_sparse_files() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let mut elf_head_with_wild_counts = whole[..64].to_vec();
        elf_head_with_wild_counts[56..58].copy_from_slice(&[0xff, 0xff]);
        for bytes in [&b""[..], b"garbage", b"\x7fELF", &whole[..40], &whole[..64], &elf_head_with_wild_counts] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert!(inspect(&file).is_err());
            file.set_len(3 << 30).unwrap();
            assert!(inspect(&file).is_err(), "{} bytes, sparse", bytes.len());
        }
    }

    #[test]
    fn addresses_follow_the_segments() {
        let segment =
            |file_offset, address, is_executable| Segment { file_offset, file_bytes: 0x100, address, is_executable };
        let facts = ElfFacts {
            segments: vec![
                segment(0x1000, 0x1000, false),
                segment(0x1040, 0x40_2040, true),
                segment(0x1140, 0x40_3140, true),
            ],
            build_id: Arc::from(""),
        };
        assert_eq!(facts.address_of(0x1050), 0x40_2050);
        assert_eq!(facts.address_of(0x1150), 0x40_3150);
        assert_eq!(facts.start_of(0x1000), 0x40_3000, "the page of two segments");
        assert_eq!(facts.address_of(0x9000), 0x9000);
    }
}
