//! The headers of an ELF file, read by position: where its bytes lie and which sections matter to Go.
//!
//! The file is shared with other threads and may be written to meanwhile: nothing is mapped, no offset is moved, and
//! every length has a bound.

use super::Unusable;
use object::LittleEndian;
use object::elf::{self as format, FileHeader64, ProgramHeader64, SectionHeader64};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Program headers looked at.
const MAX_PROGRAM_HEADERS: usize = 4096;
/// Section headers looked at.
const MAX_SECTIONS: usize = 65_536;
/// Bytes of the names of sections.
const MAX_SECTION_NAMES: u64 = 4 << 20;
const HEADER_BYTES: usize = size_of::<FileHeader64<LittleEndian>>();

/// Architectures whose Go programs have rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86_64, `amd64` for Go.
    X86_64,
    /// aarch64, `arm64` for Go.
    Aarch64,
}

/// Part of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Region {
    /// Fills as much of `into` as the region has from a place in it on.
    pub(super) fn read<'b>(&self, file: &File, at: u64, into: &'b mut [u8]) -> Option<&'b [u8]> {
        let bytes = self.bytes.checked_sub(at)?.min(into.len() as u64) as usize;
        let into = &mut into[..bytes];
        file.read_exact_at(into, self.offset.checked_add(at)?).ok()?;
        Some(into)
    }

    /// A little-endian number at a place.
    pub(super) fn u32(&self, file: &File, at: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(file, at, &mut bytes)?;
        (at + 4 <= self.bytes).then(|| u32::from_le_bytes(bytes))
    }

    /// All of it, when it is not more than so many bytes.
    pub(super) fn load(&self, file: &File, limit: u64) -> Result<Vec<u8>, Unusable> {
        if self.bytes > limit {
            return Err(Unusable::TooLarge);
        }
        let mut bytes = vec![0; self.bytes as usize];
        file.read_exact_at(&mut bytes, self.offset).map_err(|_| Unusable::Malformed)?;
        Ok(bytes)
    }
}

/// A load segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) region: Region,
    pub(super) executable: bool,
    pub(super) writable: bool,
}

/// What the headers say.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) machine: Machine,
    pub(super) segments: Vec<Segment>,
    /// The dynamic section.
    pub(super) dynamic: Option<Region>,
    /// The section of the table, where it has one of its own.
    pub(super) table: Option<Region>,
    /// Address of `.text`.
    pub(super) text: Option<u64>,
    /// Section headers say that this is no Go program.
    pub(super) foreign: bool,
}

impl Image {
    /// Reads the headers; none for files of other classes and machines.
    pub(super) fn read(file: &File) -> Result<Option<Self>, Unusable> {
        let bytes = Region { offset: 0, bytes: HEADER_BYTES as u64 }.load(file, u64::MAX)?;
        let (header, _) =
            object::pod::from_bytes::<FileHeader64<LittleEndian>>(&bytes).map_err(|()| Unusable::Malformed)?;
        let identity = header.e_ident;
        if identity.magic != format::ELFMAG
            || identity.class != format::ELFCLASS64
            || identity.data != format::ELFDATA2LSB
        {
            return Ok(None);
        }
        let machine = match header.e_machine.get(LittleEndian) {
            format::EM_X86_64 => Machine::X86_64,
            format::EM_AARCH64 => Machine::Aarch64,
            _ => return Ok(None),
        };
        let mut image = Self { machine, segments: Vec::new(), dynamic: None, table: None, text: None, foreign: false };
        image.read_segments(file, header)?;
        image.read_sections(file, header);
        Ok(Some(image))
    }

    fn read_segments(&mut self, file: &File, header: &FileHeader64<LittleEndian>) -> Result<(), Unusable> {
        let count = usize::from(header.e_phnum.get(LittleEndian));
        let size = size_of::<ProgramHeader64<LittleEndian>>();
        if count > MAX_PROGRAM_HEADERS || usize::from(header.e_phentsize.get(LittleEndian)) != size {
            return Err(Unusable::Malformed);
        }
        let region = Region { offset: header.e_phoff.get(LittleEndian), bytes: (count * size) as u64 };
        let bytes = region.load(file, u64::MAX)?;
        let headers = object::pod::slice_from_all_bytes::<ProgramHeader64<LittleEndian>>(&bytes);
        // No segment is larger than the file: rows for what is merely claimed would cost without end.
        let file_bytes = file.metadata().map_err(|_| Unusable::Malformed)?.len();
        for header in headers.map_err(|()| Unusable::Malformed)? {
            let bytes = header.p_filesz.get(LittleEndian).min(file_bytes);
            let region = Region { offset: header.p_offset.get(LittleEndian), bytes };
            let flags = header.p_flags.get(LittleEndian);
            match header.p_type.get(LittleEndian) {
                format::PT_LOAD => self.segments.push(Segment {
                    address: header.p_vaddr.get(LittleEndian),
                    region,
                    executable: flags.0 & format::PF_X.0 != 0,
                    writable: flags.0 & format::PF_W.0 != 0,
                }),
                format::PT_DYNAMIC => self.dynamic = Some(region),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sections are optional: what cannot be read is as good as stripped.
    fn read_sections(&mut self, file: &File, header: &FileHeader64<LittleEndian>) {
        let count = usize::from(header.e_shnum.get(LittleEndian));
        let size = size_of::<SectionHeader64<LittleEndian>>();
        if count == 0 || count > MAX_SECTIONS || usize::from(header.e_shentsize.get(LittleEndian)) != size {
            return;
        }
        let region = Region { offset: header.e_shoff.get(LittleEndian), bytes: (count * size) as u64 };
        let Ok(bytes) = region.load(file, u64::MAX) else { return };
        let Ok(headers) = object::pod::slice_from_all_bytes::<SectionHeader64<LittleEndian>>(&bytes) else { return };
        let place = |header: &SectionHeader64<LittleEndian>| Region {
            offset: header.sh_offset.get(LittleEndian),
            bytes: header.sh_size.get(LittleEndian),
        };
        let names = headers.get(usize::from(header.e_shstrndx.get(LittleEndian).0)).map(place);
        let Some(Ok(names)) = names.map(|names| names.load(file, MAX_SECTION_NAMES)) else { return };
        let mut is_go = false;
        for header in headers {
            let name = names.get(header.sh_name.get(LittleEndian) as usize..).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            match name {
                b".gopclntab" | b".data.rel.ro.gopclntab" => self.table = Some(place(header)),
                b".text" => self.text = Some(header.sh_addr.get(LittleEndian)),
                _ => {}
            }
            is_go |= name.starts_with(b".go") && name != b".got" && name != b".got.plt" || name == b".note.go.buildid";
        }
        self.foreign = !is_go;
    }

    /// The bytes of the file at an address, as far as its segment goes.
    pub(super) fn region(&self, address: u64) -> Option<Region> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            let bytes = segment.region.bytes.checked_sub(inside).filter(|bytes| *bytes > 0)?;
            Some(Region { offset: segment.region.offset.checked_add(inside)?, bytes })
        })
    }

    /// The address of an offset in the file.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.region.offset).filter(|inside| *inside < segment.region.bytes)?;
            segment.address.checked_add(inside)
        })
    }

    /// The executable segment with an address.
    pub(super) fn text_segment(&self, address: u64) -> Option<Range<u64>> {
        let mut ranges = self
            .segments
            .iter()
            .filter(|segment| segment.executable)
            .map(|segment| segment.address..segment.address.saturating_add(segment.region.bytes));
        ranges.find(|range| range.contains(&address))
    }
}
