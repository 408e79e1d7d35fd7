//! The sections of an ELF file that debug info is in, found and unpacked with bounds.

use crate::process::Refusal;
use gimli::RunTimeEndian;
use object::elf::{self as format, CompressionType, FileHeader32, FileHeader64};
use object::read::elf::{CompressionHeader as _, FileHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;

/// Section headers looked at.
const MAX_SECTIONS: u32 = 65_536;
/// Sections of interest: there are two dozen kinds.
const MAX_FOUND: usize = 128;
/// A build ID is 20 bytes by default and 64 at most.
const MAX_BUILD_ID_BYTES: usize = 64;
const MAX_NOTE_BYTES: u64 = 64 << 10;
/// Dictionary of an xz stream, in KiB: that of `xz -9`, and its tables.
const MAX_XZ_KIB: u32 = 72 << 10;
/// Window of a zstd frame in bytes: what `zstd -22` does without being asked for more.
const MAX_ZSTD_WINDOW_BYTES: u64 = 128 << 20;
/// `.zdebug_…`: the letters ZLIB and the size, big-endian.
const OLD_HEADER_BYTES: u64 = 12;

/// How a section is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Zlib,
    Zstd,
    Unknown,
}

/// Where a section lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    name: String,
    /// In the file.
    pub(super) offset: u64,
    /// In the file.
    pub(super) file_bytes: u64,
    /// Unpacked, as the file says.
    pub(super) bytes: u64,
    packing: Packing,
}

impl Section {
    /// Whether it can be read where it is.
    pub(super) fn is_plain(&self) -> bool {
        self.packing == Packing::Plain
    }

    /// Its content, unpacked.
    ///
    /// # Errors
    /// Larger than `max_bytes` or than it says; damaged; packed in an unknown way.
    pub(super) fn unpack(&self, file: &File, max_bytes: u64) -> Result<Vec<u8>, Refusal> {
        if self.bytes > max_bytes {
            return Err(Refusal::TooLarge);
        }
        let part = Part { file, at: self.offset, end: self.offset.saturating_add(self.file_bytes) };
        let content = match self.packing {
            Packing::Plain => read_all(part, self.bytes),
            Packing::Zlib => read_all(flate2::read::ZlibDecoder::new(part), self.bytes),
            Packing::Zstd => {
                let mut frame = ruzstd::decoding::FrameDecoder::new();
                frame.set_max_window_size(max_bytes.min(MAX_ZSTD_WINDOW_BYTES));
                let decoder = ruzstd::decoding::StreamingDecoder::new_with_decoder(part, frame);
                decoder.ok().and_then(|decoder| read_all(decoder, self.bytes))
            }
            Packing::Unknown => None,
        };
        content.filter(|content| content.len() as u64 == self.bytes).ok_or(Refusal::Malformed)
    }
}

/// Unpacks an xz stream of at most `max_bytes`.
pub(super) fn unxz(packed: &[u8], max_bytes: u64) -> Option<Vec<u8>> {
    let content = read_all(lzma_rust2::XzReader::new_mem_limit(packed, true, MAX_XZ_KIB), max_bytes + 1)?;
    (content.len() as u64 <= max_bytes).then_some(content)
}

/// At most `bytes`; what a header promises is not allocated before it is there.
fn read_all(from: impl Read, bytes: u64) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    from.take(bytes).read_to_end(&mut content).ok()?;
    Some(content)
}

/// A part of a file, read in order.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// What a file has of interest.
#[derive(Debug)]
pub(super) struct Sections {
    found: Vec<Section>,
    /// Byte order.
    pub(super) endian: RunTimeEndian,
    /// GNU build ID, empty when there is none.
    pub(super) build_id: Vec<u8>,
}

impl Sections {
    /// Reads the section headers; a file without any has no sections.
    ///
    /// # Errors
    /// No ELF file, or more sections than are looked at.
    pub(super) fn read(file: &File) -> Result<Self, Refusal> {
        let cache = ReadCache::new(file);
        let ident = cache.read_bytes_at(0, 16).map_err(|()| Refusal::Malformed)?;
        match (&ident[..4], format::FileClass(ident[4])) {
            (b"\x7fELF", format::ELFCLASS64) => read_class::<FileHeader64<Endianness>, _>(&cache),
            (b"\x7fELF", format::ELFCLASS32) => read_class::<FileHeader32<Endianness>, _>(&cache),
            _ => Err(Refusal::Malformed),
        }
    }

    /// The section of a name; those compressed the old way have the name that they would have otherwise.
    pub(super) fn get(&self, name: &str) -> Option<&Section> {
        self.found.iter().find(|section| section.name == name)
    }
}

fn read_class<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Result<Sections, Refusal> {
    let header = H::parse(data).map_err(|_| Refusal::Malformed)?;
    let endian = header.endian().map_err(|_| Refusal::Malformed)?;
    let order = if endian == Endianness::Big { RunTimeEndian::Big } else { RunTimeEndian::Little };
    let mut sections = Sections { found: Vec::new(), endian: order, build_id: Vec::new() };
    if header.shnum(endian, data).unwrap_or(0) > MAX_SECTIONS {
        return Err(Refusal::TooLarge);
    }
    let Ok(table) = header.sections(endian, data) else { return Ok(sections) };
    for section in table.iter() {
        let Some(name) = table.section_name(endian, section).ok().and_then(|name| str::from_utf8(name).ok()) else {
            continue;
        };
        if name == ".note.gnu.build-id" && section.sh_size(endian).into() <= MAX_NOTE_BYTES {
            sections.build_id = build_id(section, endian, data).unwrap_or_default();
        }
        let wanted = name.starts_with(".debug_") || name.starts_with(".zdebug_") || name.starts_with(".gnu_debug");
        if (wanted || name == ".symtab") && sections.found.len() < MAX_FOUND {
            sections.found.extend(place(name, section, endian, data));
        }
    }
    Ok(sections)
}

fn place<'data, S: SectionHeader<Endian = Endianness>, R: ReadRef<'data>>(
    name: &str,
    section: &S,
    endian: Endianness,
    data: R,
) -> Option<Section> {
    let (offset, file_bytes) = section.file_range(endian)?;
    let plain = Section { name: name.to_owned(), offset, file_bytes, bytes: file_bytes, packing: Packing::Plain };
    if let Some(rest) = name.strip_prefix(".zdebug_") {
        let header = data.read_bytes_at(offset, OLD_HEADER_BYTES).ok()?;
        let size = <[u8; 8]>::try_from(header.strip_prefix(b"ZLIB")?).ok()?;
        let file_bytes = file_bytes.checked_sub(OLD_HEADER_BYTES)?;
        return Some(Section {
            name: format!(".debug_{rest}"),
            offset: offset + OLD_HEADER_BYTES,
            file_bytes,
            bytes: u64::from_be_bytes(size),
            packing: Packing::Zlib,
        });
    }
    let Some((header, offset, file_bytes)) = section.compression(endian, data).ok()? else { return Some(plain) };
    let packing = match CompressionType(header.ch_type(endian).0) {
        format::ELFCOMPRESS_ZLIB => Packing::Zlib,
        format::ELFCOMPRESS_ZSTD => Packing::Zstd,
        _ => Packing::Unknown,
    };
    Some(Section { offset, file_bytes, bytes: header.ch_size(endian).into(), packing, ..plain })
}

fn build_id<'data, S: SectionHeader<Endian = Endianness>, R: ReadRef<'data>>(
    section: &S,
    endian: Endianness,
    data: R,
) -> Option<Vec<u8>> {
    let mut notes = section.notes(endian, data).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == b"GNU" && note.n_type(endian) == format::NT_GNU_BUILD_ID {
            return Some(note.desc()[..note.desc().len().min(MAX_BUILD_ID_BYTES)].to_vec());
        }
    }
    None
}
