//! The function symbols of an ELF file, copied with bounds into a small ELF file in memory.
//!
//! Why a copy: the symbolizer maps files. One that is cut short or written to while it is mapped would kill the agent
//! (SIGBUS) or change under it. Nobody else can reach the copy, and it holds nothing but functions and names. It is
//! made in pieces and keeps the holes of sparse files: what a hostile file costs is what it holds on disk.
//!
//! Of several names of one address only the first in the order of [`aliases::Rank`] counts.

use super::aliases;
use crate::process::Refusal;
use object::elf::{self as format, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use object::{Endianness, ReadCache, ReadRef};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Functions of a file: twice those of the largest browser.
const MAX_FUNCTIONS: usize = 2_000_000;
/// Bytes of their names.
const MAX_NAME_TABLE_BYTES: u64 = 256 << 20;
/// Bytes of the symbol tables that are looked through.
const MAX_SYMBOL_TABLE_BYTES: u64 = 256 << 20;
/// Section headers looked at.
const MAX_SECTIONS: u32 = 65_536;
/// Bytes read at a time: a multiple of both symbol sizes and of a page.
const PIECE_BYTES: u64 = 24 * 4096;
/// `Elf64_Sym`
pub(super) const SYMBOL_BYTES: u64 = 24;
const HEADER_BYTES: u64 = 64;
const SECTION_NAMES: &[u8] = b"\0.text\0.symtab\0.strtab\0.shstrtab\0";

/// A memory file with function symbols.
#[derive(Debug)]
pub(super) struct SymbolFile {
    /// The file.
    pub(super) file: File,
    /// Functions in it.
    pub(super) functions: usize,
    /// Bytes that it takes.
    pub(super) bytes: u64,
}

/// Which symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// `.symtab`: all of them.
    Full,
    /// `.dynsym`: what other files may call.
    Dynamic,
    /// The same without what has no size: it may be anything up to the next one.
    Exported,
}

/// Copies the symbols; none in the file is not an error.
pub(super) fn extract(source: &File, table: Table) -> Result<SymbolFile, Refusal> {
    let cache = ReadCache::new(source);
    let ident = cache.read_bytes_at(0, 16).map_err(|()| Refusal::Malformed)?;
    match format::FileClass(ident[4]) {
        format::ELFCLASS64 => extract_class::<FileHeader64<Endianness>, _>(source, &cache, table),
        format::ELFCLASS32 => extract_class::<FileHeader32<Endianness>, _>(source, &cache, table),
        _ => Err(Refusal::Malformed),
    }
}

/// Where a table lies in the source.
#[derive(Clone, Copy)]
struct Part {
    offset: u64,
    bytes: u64,
}

impl Part {
    fn of<S: SectionHeader<Endian = Endianness>>(section: &S, endian: Endianness, limit: u64) -> Result<Self, Refusal> {
        let table = Self { offset: section.sh_offset(endian).into(), bytes: section.sh_size(endian).into() };
        match table.bytes > limit || table.offset.checked_add(table.bytes).is_none() {
            true => Err(Refusal::TooLarge),
            false => Ok(table),
        }
    }
}

fn extract_class<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(
    source: &File,
    data: R,
    table: Table,
) -> Result<SymbolFile, Refusal> {
    let header = H::parse(data).map_err(|_| Refusal::Malformed)?;
    let endian = header.endian().map_err(|_| Refusal::Malformed)?;
    let mut copy = Copy::new().map_err(|_| Refusal::TooLarge)?;
    // A file whose sections were cut off is no reason to complain: it has no symbols.
    let count = header.shnum(endian, data).unwrap_or(0);
    if count > MAX_SECTIONS {
        return Err(Refusal::TooLarge);
    }
    let sections = if count == 0 { Ok(Default::default()) } else { header.section_headers(endian, data) };
    let kind = match table {
        Table::Full => format::SHT_SYMTAB,
        Table::Dynamic | Table::Exported => format::SHT_DYNSYM,
    };
    let found = sections.iter().copied().flatten().find(|section| section.sh_type(endian) == kind);
    if let Some(section) = found {
        let names = sections.iter().copied().flatten().nth(section.sh_link(endian) as usize);
        let names = Part::of(names.ok_or(Refusal::Malformed)?, endian, MAX_NAME_TABLE_BYTES)?;
        let symbols = Part::of(section, endian, MAX_SYMBOL_TABLE_BYTES)?;
        copy.symbols::<H::Sym>(source, symbols, endian, names.bytes, table == Table::Exported)?;
        if !copy.starts.is_empty() {
            copy.names(source, names).map_err(|_| Refusal::TooLarge)?;
            copy.hidden = aliases::hide(&copy.file, &mut copy.starts, copy.names_at).map_err(|_| Refusal::TooLarge)?;
        }
    }
    copy.finish().map_err(|_| Refusal::TooLarge)
}

/// The copy while it grows: header, symbols, names, section names, section headers.
struct Copy {
    file: File,
    /// Where the next byte goes.
    at: u64,
    /// Address of each symbol and its number.
    starts: Vec<(u64, u32)>,
    /// Symbols that do not count.
    hidden: usize,
    names_at: u64,
    names_bytes: u64,
}

impl Copy {
    /// Room for the header, then the null symbol.
    fn new() -> std::io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("profiler-symbols", rustix::fs::MemfdFlags::CLOEXEC)?);
        Ok(Self { file, at: HEADER_BYTES + SYMBOL_BYTES, starts: Vec::new(), hidden: 0, names_at: 0, names_bytes: 0 })
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Copies the functions of a symbol table.
    fn symbols<S: Sym<Endian = Endianness>>(
        &mut self,
        source: &File,
        table: Part,
        endian: Endianness,
        names_bytes: u64,
        with_size: bool,
    ) -> Result<(), Refusal> {
        let mut piece = vec![0; PIECE_BYTES.min(table.bytes) as usize];
        let mut found = Vec::new();
        for offset in (0..table.bytes).step_by(PIECE_BYTES as usize) {
            let piece = &mut piece[..PIECE_BYTES.min(table.bytes - offset) as usize];
            source.read_exact_at(piece, table.offset + offset).map_err(|_| Refusal::Malformed)?;
            let whole = piece.len() - piece.len() % size_of::<S>();
            let symbols = object::pod::slice_from_all_bytes::<S>(&piece[..whole]).map_err(|()| Refusal::Malformed)?;
            found.clear();
            let counts = |symbol: &&S| {
                let has_size = symbol.st_size(endian).into() > 0;
                is_function(*symbol, endian) && (has_size || !with_size)
            };
            for symbol in symbols.iter().filter(counts) {
                if u64::from(symbol.st_name(endian)) < names_bytes {
                    push(&mut found, symbol, endian);
                    self.starts.push((symbol.st_value(endian).into(), self.starts.len() as u32));
                }
            }
            if self.starts.len() > MAX_FUNCTIONS {
                return Err(Refusal::TooLarge);
            }
            self.append(&found).map_err(|_| Refusal::TooLarge)?;
        }
        Ok(())
    }

    /// Copies the names, and a last NUL in case theirs is missing. Pieces of zeros stay holes.
    fn names(&mut self, source: &File, table: Part) -> std::io::Result<()> {
        self.names_at = self.at;
        self.names_bytes = table.bytes + 1;
        let mut piece = vec![0; PIECE_BYTES.min(table.bytes) as usize];
        for offset in (0..table.bytes).step_by(PIECE_BYTES as usize) {
            let piece = &mut piece[..PIECE_BYTES.min(table.bytes - offset) as usize];
            source.read_exact_at(piece, table.offset + offset)?;
            if piece.iter().any(|&byte| byte != 0) {
                self.file.write_all_at(piece, self.names_at + offset)?;
            }
        }
        self.at = self.names_at + table.bytes;
        self.append(&[0])
    }

    /// Writes the section names, the section headers and the file's header: little-endian ELF64.
    fn finish(mut self) -> std::io::Result<SymbolFile> {
        let section_names_at = self.at;
        self.append(SECTION_NAMES)?;
        self.at = self.at.next_multiple_of(8);
        let headers_at = self.at;
        let symbols_bytes = SYMBOL_BYTES * (self.starts.len() as u64 + 1);
        let sections = [
            section(0, format::SHT_NULL, 0, 0, 0, 0),
            section(1, format::SHT_NOBITS, 0, 0, 0, 0),
            section(7, format::SHT_SYMTAB, HEADER_BYTES, symbols_bytes, 3, SYMBOL_BYTES),
            section(15, format::SHT_STRTAB, self.names_at, self.names_bytes, 0, 0),
            section(23, format::SHT_STRTAB, section_names_at, SECTION_NAMES.len() as u64, 0, 0),
        ];
        self.append(&sections.concat())?;
        self.file.write_all_at(&header(headers_at, sections.len() as u16), 0)?;
        let bytes = self.file.metadata().map(|metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) * 512)?;
        Ok(SymbolFile { file: self.file, functions: self.starts.len() - self.hidden, bytes })
    }
}

/// Where a symbol of a copy lies.
pub(super) fn symbol_at(number: u32) -> u64 {
    HEADER_BYTES + SYMBOL_BYTES * (u64::from(number) + 1)
}

fn is_function<S: Sym<Endian = Endianness>>(symbol: &S, endian: Endianness) -> bool {
    let kind = symbol.st_type();
    let function = matches!(kind, format::STT_FUNC | format::STT_GNU_IFUNC)
        // Assembly often has no types.
        || kind == format::STT_NOTYPE && symbol.st_size(endian).into() > 0;
    function && symbol.st_shndx(endian) != format::SHN_UNDEF && symbol.st_name(endian) != 0
}

/// `Elf64_Sym`: name, info, other, section, value, size.
fn push<S: Sym<Endian = Endianness>>(into: &mut Vec<u8>, symbol: &S, endian: Endianness) {
    into.extend(symbol.st_name(endian).to_le_bytes());
    into.extend([symbol.st_bind().0 << 4 | format::STT_FUNC.0, 0]);
    into.extend(1_u16.to_le_bytes());
    let value: u64 = symbol.st_value(endian).into();
    // The symbolizer adds the two without a look.
    let size = symbol.st_size(endian).into().min(u64::MAX - value);
    into.extend([value, size].map(u64::to_le_bytes).concat());
}

/// `Elf64_Shdr`: name, type, flags, address, offset, size, link, info, alignment, entry size.
fn section(name: u32, kind: format::SectionType, at: u64, bytes: u64, link: u32, entry: u64) -> Vec<u8> {
    let mut section = [name, kind.0].map(u32::to_le_bytes).concat();
    section.extend([0, 0, at, bytes].map(u64::to_le_bytes).concat());
    section.extend([link, 0].map(u32::to_le_bytes).concat());
    section.extend([1, entry].map(u64::to_le_bytes).concat());
    section
}

/// `Elf64_Ehdr`.
fn header(section_headers_at: u64, sections: u16) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend([format::ET_DYN.0, format::EM_X86_64.0].map(u16::to_le_bytes).concat());
    header.extend(1_u32.to_le_bytes());
    header.extend([0, 0, section_headers_at].map(u64::to_le_bytes).concat());
    header.extend(0_u32.to_le_bytes());
    header.extend([HEADER_BYTES as u16, 56, 0, 64, sections, sections - 1].map(u16::to_le_bytes).concat());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_copy_of_this_test_has_its_functions() {
        let copy = extract(&File::open("/proc/self/exe").unwrap(), Table::Full).unwrap();
        assert!(copy.functions > 100, "{} functions", copy.functions);
        let again = extract(&copy.file, Table::Full).unwrap();
        assert_eq!(again.functions, copy.functions);
    }

    #[test]
    fn every_truncation_is_refused_or_has_no_symbols() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for length in [0, 3, 16, 63, 64, 1000, whole.len() / 2, whole.len() - 64] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..length]).unwrap();
            assert!(extract(&file, Table::Full).is_err() || length >= 64, "{length} bytes");
        }
    }

    #[test]
    fn names_of_a_sparse_file_cost_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        let (symbols_at, names_at, names_bytes) = (0x1000, 0x10000, 200 << 20);
        let symbol = [&7_u32.to_le_bytes()[..], &[0x12, 0], &1_u16.to_le_bytes(), &[0; 16]].concat();
        let sections = [
            section(0, format::SHT_NULL, 0, 0, 0, 0),
            section(0, format::SHT_SYMTAB, symbols_at, 24, 2, 24),
            section(0, format::SHT_STRTAB, names_at, names_bytes, 0, 0),
        ];
        file.write_all(&header(0x2000, 3)).unwrap();
        file.write_all_at(&symbol, symbols_at).unwrap();
        file.write_all_at(&sections.concat(), 0x2000).unwrap();
        file.set_len(3 << 30).unwrap();
        let copy = extract(&file, Table::Full).unwrap();
        assert_eq!(copy.functions, 1);
        assert!(copy.bytes < 100_000, "{} bytes", copy.bytes);
    }
}
