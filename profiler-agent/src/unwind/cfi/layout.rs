//! Where a file's code and its call frame information lie.

use super::NoTable;
use super::machine::Machine;
use super::pieces::{self, MAX_SECTION_BYTES, Range};
use flate2::read::ZlibDecoder;
use gimli::{BaseAddresses, EhFrameHdr};
use object::elf::{self, CompressionHeader64, FileHeader64, ProgramHeader64, SectionHeader64};
use object::{LittleEndian, pod};
use std::fs::File;

/// Load segments with code: twice what any linker makes.
const MAX_CODE_SEGMENTS: usize = 64;
/// Program headers looked at.
const MAX_PROGRAM_HEADERS: u64 = 4096;
/// Section headers looked at.
const MAX_SECTIONS: u64 = 65_536;
/// Bytes of the sections' names.
const MAX_NAME_BYTES: u64 = 4 << 20;
/// A header of `.eh_frame_hdr`, without its table: four bytes and two pointers.
const EH_FRAME_HDR_BYTES: u64 = 20;

const E: LittleEndian = LittleEndian;

/// What is needed of a file.
pub(super) struct Layout {
    /// What its code runs on.
    pub(super) machine: &'static Machine,
    /// Addresses of its code.
    pub(super) code: Vec<std::ops::Range<u64>>,
    /// Where each of them lies in the file.
    code_offsets: Vec<u64>,
    /// Address of `.eh_frame`.
    pub(super) eh_frame_address: u64,
    /// Content of `.eh_frame`, empty when there is none.
    pub(super) eh_frame: Vec<u8>,
    /// Content of `.debug_frame`, empty when there is none.
    pub(super) debug_frame: Vec<u8>,
}

impl Layout {
    /// The bytes of a range within one segment; none where the file ends before it does.
    pub(super) fn code_at(&self, file: &File, range: &std::ops::Range<u64>) -> Option<Vec<u8>> {
        let holds = |code: &std::ops::Range<u64>| code.start <= range.start && range.end <= code.end;
        let segment = self.code.iter().position(holds)?;
        let at = self.code_offsets[segment].saturating_add(range.start - self.code[segment].start);
        pieces::table(file, at, range.end - range.start, MAX_SECTION_BYTES).ok()
    }
}

/// Reads headers and sections.
pub(super) fn read(file: &File) -> Result<Layout, NoTable> {
    let header = pieces::table(file, 0, size_of::<FileHeader64<LittleEndian>>() as u64, u64::MAX)?;
    let (header, _) = pod::from_bytes::<FileHeader64<LittleEndian>>(&header).map_err(|()| NoTable::Malformed)?;
    if header.e_ident.magic != elf::ELFMAG {
        return Err(NoTable::Malformed);
    }
    if header.e_ident.class != elf::ELFCLASS64 || header.e_ident.data != elf::ELFDATA2LSB {
        return Err(NoTable::UnsupportedMachine);
    }
    let machine = Machine::of(header.e_machine.get(E)).ok_or(NoTable::UnsupportedMachine)?;
    let segments = Segments::read(file, header)?;
    // A file whose section headers were cut off still has what it runs with.
    let sections = Sections::read(file, header).unwrap_or_default();
    let (eh_frame_address, eh_frame) = match sections.find(b".eh_frame") {
        Some(section) => (section.sh_addr.get(E), sections.content(file, section)?),
        None => segments.eh_frame(file)?.unwrap_or_default(),
    };
    let debug_frame = match sections.find(b".debug_frame").map(|section| sections.content(file, section)) {
        // What the file runs with is good enough.
        Some(Err(_)) if !eh_frame.is_empty() => Vec::new(),
        found => found.transpose()?.unwrap_or_default(),
    };
    let file_bytes = file.metadata().map_err(|_| NoTable::ReadError)?.len();
    let (code, code_offsets) = segments.code(file_bytes);
    Ok(Layout { machine, code, code_offsets, eh_frame_address, eh_frame, debug_frame })
}

struct Segments(Vec<ProgramHeader64<LittleEndian>>);

impl Segments {
    fn read(file: &File, header: &FileHeader64<LittleEndian>) -> Result<Self, NoTable> {
        let count = u64::from(header.e_phnum.get(E));
        Ok(Self(array(file, header.e_phoff.get(E), count, MAX_PROGRAM_HEADERS)?))
    }

    /// No more than the file holds: rows for what is merely claimed would cost without end.
    fn code(&self, file_bytes: u64) -> (Vec<std::ops::Range<u64>>, Vec<u64>) {
        let executable = self.loaded().filter(|segment| segment.p_flags.get(E).contains(elf::PF_X));
        let range = |segment: &ProgramHeader64<LittleEndian>| {
            let start = segment.p_vaddr.get(E);
            (start..start.saturating_add(segment.p_memsz.get(E).min(file_bytes)), segment.p_offset.get(E))
        };
        executable.take(MAX_CODE_SEGMENTS).map(range).unzip()
    }

    fn loaded(&self) -> impl Iterator<Item = &ProgramHeader64<LittleEndian>> {
        self.0.iter().filter(|segment| segment.p_type.get(E) == elf::PT_LOAD)
    }

    /// Address and content of `.eh_frame` and of what lies behind it: it ends itself.
    fn eh_frame(&self, file: &File) -> Result<Option<(u64, Vec<u8>)>, NoTable> {
        let Some(header) = self.0.iter().find(|segment| segment.p_type.get(E) == elf::PT_GNU_EH_FRAME) else {
            return Ok(None);
        };
        let bytes = header.p_filesz.get(E).min(EH_FRAME_HDR_BYTES);
        let content = pieces::table(file, header.p_offset.get(E), bytes, EH_FRAME_HDR_BYTES)?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(header.p_vaddr.get(E));
        let parsed = EhFrameHdr::new(&content, gimli::LittleEndian).parse(&bases, 8);
        let address = parsed.map_err(|_| NoTable::Malformed)?.eh_frame_ptr().pointer();
        for segment in self.loaded() {
            let distance = address.wrapping_sub(segment.p_vaddr.get(E));
            if let Some(bytes) = segment.p_filesz.get(E).checked_sub(distance) {
                let at = segment.p_offset.get(E).saturating_add(distance);
                let bytes = bytes.min(MAX_SECTION_BYTES);
                return Ok(Some((address, pieces::content(Range::new(file, at, bytes), bytes)?)));
            }
        }
        Ok(None)
    }
}

#[derive(Default)]
struct Sections {
    headers: Vec<SectionHeader64<LittleEndian>>,
    names: Vec<u8>,
}

impl Sections {
    fn read(file: &File, header: &FileHeader64<LittleEndian>) -> Result<Self, NoTable> {
        let at = header.e_shoff.get(E);
        let (mut count, mut names) = (u64::from(header.e_shnum.get(E)), u32::from(header.e_shstrndx.get(E).0));
        if at == 0 {
            return Ok(Self::default());
        }
        // Numbers that do not fit into the file's header stand in the first section's.
        let first: Vec<SectionHeader64<LittleEndian>> = array(file, at, 1, 1)?;
        if count == 0 {
            count = first[0].sh_size.get(E);
        }
        if names == u32::from(elf::SHN_XINDEX.0) {
            names = first[0].sh_link.get(E);
        }
        let headers: Vec<SectionHeader64<LittleEndian>> = array(file, at, count, MAX_SECTIONS)?;
        let names = headers.get(names as usize).ok_or(NoTable::Malformed)?;
        let names = pieces::table(file, names.sh_offset.get(E), names.sh_size.get(E), MAX_NAME_BYTES)?;
        Ok(Self { headers, names })
    }

    /// A section that has content.
    fn find(&self, name: &[u8]) -> Option<&SectionHeader64<LittleEndian>> {
        let is_named = |section: &&SectionHeader64<LittleEndian>| {
            let rest = self.names.get(section.sh_name.get(E) as usize..);
            rest.and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.first() == Some(&0))
        };
        let has_content = |section: &&SectionHeader64<LittleEndian>| {
            section.sh_type.get(E) != elf::SHT_NOBITS && section.sh_size.get(E) > 0
        };
        self.headers.iter().filter(has_content).find(is_named)
    }

    fn content(&self, file: &File, section: &SectionHeader64<LittleEndian>) -> Result<Vec<u8>, NoTable> {
        let (at, bytes) = (section.sh_offset.get(E), section.sh_size.get(E));
        if !section.sh_flags.get(E).contains(elf::SHF_COMPRESSED) {
            return pieces::content(Range::new(file, at, bytes), bytes);
        }
        let header: Vec<CompressionHeader64<LittleEndian>> = array(file, at, 1, 1)?;
        if header[0].ch_type.get(E) != elf::ELFCOMPRESS_ZLIB {
            return Err(NoTable::NoCfi);
        }
        let skipped = size_of::<CompressionHeader64<LittleEndian>>() as u64;
        let packed = bytes.checked_sub(skipped).ok_or(NoTable::Malformed)?;
        let source = ZlibDecoder::new(Range::new(file, at.saturating_add(skipped), packed));
        pieces::content(source, header[0].ch_size.get(E))
    }
}

/// Headers of one kind.
fn array<T: pod::Pod>(file: &File, at: u64, count: u64, limit: u64) -> Result<Vec<T>, NoTable> {
    if count > limit {
        return Err(NoTable::TooLarge);
    }
    let bytes = pieces::table(file, at, count * size_of::<T>() as u64, u64::MAX)?;
    Ok(pod::slice_from_all_bytes(&bytes).map_err(|()| NoTable::Malformed)?.to_vec())
}
