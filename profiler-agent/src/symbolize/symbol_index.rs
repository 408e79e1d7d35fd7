//! The function symbols of an ELF file: where each begins, how far it goes, and where its name is.
//!
//! Names stay in the file and are read when an address needs them: those of a large program take many times the memory
//! of all the rest. Files are read, never mapped: one that is cut short or written to while it is mapped would kill the
//! agent (SIGBUS) or change under it. What changes under the index costs names, as any other lie of the file.
//!
//! Of several names of one address only the first in the order of [`aliases::Rank`] counts.

use super::aliases::{self, Symbol};
use super::symbol_file::SymbolFile;
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
/// Longest name read, in bytes; what is longer is cut.
const MAX_NAME_BYTES: usize = 8192;
/// Enough for nearly all.
const SHORT_NAME_BYTES: usize = 256;
/// Bytes of names read at a time.
const WINDOW_BYTES: usize = 64 << 10;

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

/// A function: its first address, its size, and the place of its name.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: u64,
    /// 0 where it is not known: up to the next one.
    bytes: u32,
    name: u32,
}

impl Function {
    /// 0 where it is not known, and where it is beyond all bounds.
    fn known_bytes(self) -> u32 {
        if self.bytes == u32::MAX { 0 } else { self.bytes }
    }
}

/// The functions of one symbol table.
#[derive(Debug)]
pub(super) struct SymbolIndex {
    file: File,
    names: Part,
    /// By address, one of each.
    functions: Vec<Function>,
}

impl SymbolIndex {
    /// Reads the symbols; none in the file is not an error.
    pub(super) fn read(source: &File, table: Table) -> Result<Self, Refusal> {
        let cache = ReadCache::new(source);
        let ident = cache.read_bytes_at(0, 16).map_err(|()| Refusal::Malformed)?;
        match format::FileClass(ident[4]) {
            format::ELFCLASS64 => read_class::<FileHeader64<Endianness>, _>(source, &cache, table),
            format::ELFCLASS32 => read_class::<FileHeader32<Endianness>, _>(source, &cache, table),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Functions in it.
    pub(super) fn len(&self) -> usize {
        self.functions.len()
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.functions.capacity() * size_of::<Function>()) as u64
    }

    /// All functions with their names, in a file in memory, and the bytes of that; none when the names are too long, or
    /// cannot be read.
    pub(super) fn copy(&self, max_name_bytes: usize) -> Option<(File, u64)> {
        let mut functions = self.functions.clone();
        // Names that lie side by side are read together.
        functions.sort_unstable_by_key(|function| function.name);
        let mut window = Window::new(&self.file, self.names);
        let mut copy = SymbolFile::new().ok()?;
        for function in functions {
            let name = window.name(function.name, MAX_NAME_BYTES).ok()?;
            let name = if std::str::from_utf8(name).is_ok() { name } else { &[] };
            copy.push(function.start, function.known_bytes().into(), name).ok()?;
            if copy.name_bytes() > max_name_bytes {
                return None;
            }
        }
        copy.finish().ok()
    }

    /// The name of the function at an address.
    ///
    /// # Errors
    /// The label of why there is none.
    pub(super) fn find(&self, address: u64) -> Result<String, &'static str> {
        let after = self.functions.partition_point(|function| function.start <= address);
        let function = after.checked_sub(1).map(|index| self.functions[index]);
        let holds = |function: &Function| match function.known_bytes() {
            0 => true,
            bytes => address - function.start < u64::from(bytes),
        };
        let function = function.filter(holds).ok_or("unknown_address")?;
        let name = self.names.text(&self.file, function.name).map_err(|_| "malformed")?;
        // An offset into the table of names that hits the end of another name.
        Some(name).filter(|name| !name.is_empty()).ok_or("unnamed")
    }
}

/// Where a table lies in the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
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

    /// Fills a buffer from a place in the table on, as far as the table and the file go; how much that is.
    pub(super) fn fill(&self, file: &File, at: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = self.bytes.saturating_sub(at).min(buffer.len() as u64) as usize;
        let mut filled = 0;
        while filled < wanted {
            match file.read_at(&mut buffer[filled..wanted], self.offset + at + filled as u64)? {
                0 => break,
                bytes => filled += bytes,
            }
        }
        Ok(filled)
    }

    /// The name at a place: up to the next NUL.
    fn text(&self, file: &File, at: u32) -> std::io::Result<String> {
        let mut name = vec![0; SHORT_NAME_BYTES];
        loop {
            let filled = self.fill(file, at.into(), &mut name)?;
            let end = name[..filled].iter().position(|&byte| byte == 0);
            if end.is_some() || filled < name.len() || name.len() >= MAX_NAME_BYTES {
                name.truncate(end.unwrap_or(filled));
                return whole(name);
            }
            name.resize(MAX_NAME_BYTES, 0);
        }
    }
}

/// A piece of a table of names, moved forward over it.
pub(super) struct Window<'a> {
    file: &'a File,
    names: Part,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Of the names of a file.
    pub(super) fn new(file: &'a File, names: Part) -> Self {
        Self { file, names, start: 0, bytes: Vec::new() }
    }

    /// The name at a place, or as much of it.
    pub(super) fn name(&mut self, at: u32, max_bytes: usize) -> std::io::Result<&[u8]> {
        let at = u64::from(at);
        let is_in = at >= self.start && at + max_bytes as u64 <= self.start + self.bytes.len() as u64;
        if !is_in {
            self.bytes.resize(WINDOW_BYTES, 0);
            let filled = self.names.fill(self.file, at, &mut self.bytes)?;
            self.bytes.truncate(filled);
            self.start = at;
        }
        let rest = self.bytes.get((at - self.start) as usize..).unwrap_or_default();
        let rest = &rest[..rest.len().min(max_bytes)];
        Ok(rest.split(|byte| *byte == 0).next().unwrap_or_default())
    }
}

/// Bytes as text; what was cut in the middle of a character ends before it.
fn whole(mut name: Vec<u8>) -> std::io::Result<String> {
    if let Err(error) = std::str::from_utf8(&name)
        && error.error_len().is_none()
    {
        name.truncate(error.valid_up_to());
    }
    String::from_utf8(name).map_err(|_| std::io::ErrorKind::InvalidData.into())
}

fn read_class<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(
    source: &File,
    data: R,
    table: Table,
) -> Result<SymbolIndex, Refusal> {
    let header = H::parse(data).map_err(|_| Refusal::Malformed)?;
    let endian = header.endian().map_err(|_| Refusal::Malformed)?;
    let file = source.try_clone().map_err(|_| Refusal::NotFound)?;
    let mut index = SymbolIndex { file, names: Part::default(), functions: Vec::new() };
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
        index.names = Part::of(names.ok_or(Refusal::Malformed)?, endian, MAX_NAME_TABLE_BYTES)?;
        let part = Part::of(section, endian, MAX_SYMBOL_TABLE_BYTES)?;
        let mut symbols = symbols::<H::Sym>(source, part, endian, index.names.bytes, table == Table::Exported)?;
        aliases::keep_first(&mut symbols, source, index.names).map_err(|_| Refusal::Malformed)?;
        let function = |symbol: Symbol| Function { start: symbol.start, bytes: symbol.bytes, name: symbol.name };
        index.functions = symbols.into_iter().map(function).collect();
        index.functions.shrink_to_fit();
    }
    Ok(index)
}

/// The functions of a symbol table.
fn symbols<S: Sym<Endian = Endianness>>(
    source: &File,
    table: Part,
    endian: Endianness,
    names_bytes: u64,
    with_size: bool,
) -> Result<Vec<Symbol>, Refusal> {
    let mut piece = vec![0; PIECE_BYTES.min(table.bytes) as usize];
    let mut found = Vec::new();
    for offset in (0..table.bytes).step_by(PIECE_BYTES as usize) {
        let piece = &mut piece[..PIECE_BYTES.min(table.bytes - offset) as usize];
        source.read_exact_at(piece, table.offset + offset).map_err(|_| Refusal::Malformed)?;
        let whole = piece.len() - piece.len() % size_of::<S>();
        let symbols = object::pod::slice_from_all_bytes::<S>(&piece[..whole]).map_err(|()| Refusal::Malformed)?;
        let counts = |symbol: &&S| {
            let has_size = symbol.st_size(endian).into() > 0;
            is_function(*symbol, endian) && (has_size || !with_size) && u64::from(symbol.st_name(endian)) < names_bytes
        };
        found.extend(symbols.iter().filter(counts).map(|symbol| Symbol {
            start: symbol.st_value(endian).into(),
            bytes: u32::try_from(symbol.st_size(endian).into()).unwrap_or(u32::MAX),
            name: symbol.st_name(endian),
            is_local: symbol.st_bind() == format::STB_LOCAL,
        }));
        if found.len() > MAX_FUNCTIONS {
            return Err(Refusal::TooLarge);
        }
    }
    Ok(found)
}

fn is_function<S: Sym<Endian = Endianness>>(symbol: &S, endian: Endianness) -> bool {
    let kind = symbol.st_type();
    let function = matches!(kind, format::STT_FUNC | format::STT_GNU_IFUNC)
        // Assembly often has no types.
        || kind == format::STT_NOTYPE && symbol.st_size(endian).into() > 0;
    function && symbol.st_shndx(endian) != format::SHN_UNDEF && symbol.st_name(endian) != 0
}

#[cfg(test)]
mod tests {
    use super::super::symbol_file::{header, section};
    use super::*;
    use std::io::Write as _;

    #[test]
    fn functions_of_this_test_have_names() {
        let index = SymbolIndex::read(&File::open("/proc/self/exe").unwrap(), Table::Full).unwrap();
        assert!(index.len() > 100, "{} functions", index.len());
        let names: Vec<String> = index.functions.iter().map(|function| index.find(function.start).unwrap()).collect();
        assert!(names.iter().any(|name| name == "main"));
        assert!(index.bytes() <= 16 * index.len() as u64);
    }

    #[test]
    fn every_truncation_is_refused_or_has_no_symbols() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for length in [0, 3, 16, 63, 64, 1000, whole.len() / 2, whole.len() - 64] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..length]).unwrap();
            assert!(SymbolIndex::read(&file, Table::Full).is_err() || length >= 64, "{length} bytes");
        }
    }

    /// Symbols of value, size and name; the names.
    fn index(symbols: &[(u64, u64, u32)], names: &[u8]) -> SymbolIndex {
        let mut file = tempfile::tempfile().unwrap();
        let table: Vec<u8> = symbols.iter().flat_map(|&(value, size, name)| symbol(value, size, name)).collect();
        let (symbols_at, names_at) = (0x1000, 0x10_0000);
        let sections = [
            section(0, format::SHT_NULL, 0, 0, 0, 0),
            section(0, format::SHT_SYMTAB, symbols_at, table.len() as u64, 2, 24),
            section(0, format::SHT_STRTAB, names_at, names.len() as u64, 0, 0),
        ];
        file.write_all(&header(0x40, 3)).unwrap();
        file.write_all(&sections.concat()).unwrap();
        file.write_all_at(&table, symbols_at).unwrap();
        file.write_all_at(names, names_at).unwrap();
        SymbolIndex::read(&file, Table::Full).unwrap()
    }

    fn symbol(value: u64, size: u64, name: u32) -> Vec<u8> {
        let head = [&name.to_le_bytes()[..], &[0x12, 0], &1_u16.to_le_bytes()].concat();
        [head, [value, size].map(u64::to_le_bytes).concat()].concat()
    }

    #[test]
    fn a_function_goes_as_far_as_it_says_or_up_to_the_next_one() {
        let index = index(&[(0x300, 0, 9), (0x100, 0x80, 1), (0x400, u64::MAX, 5)], b"\0one\0two\0three\0");
        let found = [0xff, 0x100, 0x17f, 0x180, 0x300, 0x3ff, 0x400, 1 << 40].map(|address| index.find(address));
        let unknown = Err("unknown_address");
        let [one, two, three] = ["one", "two", "three"].map(|name| Ok(name.to_owned()));
        assert_eq!(found, [unknown.clone(), one.clone(), one, unknown, three.clone(), three, two.clone(), two]);
    }

    #[test]
    fn names_are_cut_and_hostile_ones_cost_only_themselves() {
        let long = "\u{fc}".repeat(5000);
        let names = [b"\0\0\xff\xff\0", long.as_bytes()].concat();
        let index = index(&[(0x100, 16, 1), (0x200, 16, 2), (0x300, 16, 5), (0x400, 16, 6)], &names);
        assert_eq!([0x100, 0x200].map(|address| index.find(address)), [Err("unnamed"), Err("malformed")]);
        assert_eq!(index.find(0x300).unwrap(), "\u{fc}".repeat(4096));
        // The second half of a character.
        assert_eq!(index.find(0x400), Err("malformed"));
    }
}
