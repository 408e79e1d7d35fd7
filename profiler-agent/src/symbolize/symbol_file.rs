//! Function symbols as a small ELF file in memory, which is what blazesym looks them up in.
//!
//! Why a copy: blazesym maps files. One that is cut short or written to while it is mapped would kill the agent (SIGBUS)
//! or change under it. Nobody else can reach the copy, and it holds nothing but functions and their names.

use object::elf as format;
use std::fs::File;
use std::io::{BufWriter, Result, Seek as _, SeekFrom, Write};

const HEADER_BYTES: u64 = 64;
/// `Elf64_Sym`
const SYMBOL_BYTES: u64 = 24;
const SECTION_NAMES: &[u8] = b"\0.text\0.symtab\0.strtab\0.shstrtab\0";

/// A file that grows: header, null symbol, symbols; then names, section names, section headers.
pub(super) struct SymbolFile {
    file: BufWriter<File>,
    symbols: u64,
    names: Vec<u8>,
}

impl SymbolFile {
    /// Without symbols.
    pub(super) fn new() -> Result<Self> {
        let file = File::from(rustix::fs::memfd_create("profiler-symbols", rustix::fs::MemfdFlags::CLOEXEC)?);
        let mut file = BufWriter::new(file);
        file.write_all(&[0; (HEADER_BYTES + SYMBOL_BYTES) as usize])?;
        Ok(Self { file, symbols: 1, names: vec![0] })
    }

    /// Bytes of the names so far.
    pub(super) fn name_bytes(&self) -> usize {
        self.names.len()
    }

    /// A function of so many bytes, 0 where that is not known.
    pub(super) fn push(&mut self, start: u64, bytes: u64, name: &[u8]) -> Result<()> {
        let mut symbol = (self.names.len() as u32).to_le_bytes().to_vec();
        symbol.extend([format::STB_GLOBAL.0 << 4 | format::STT_FUNC.0, 0]);
        symbol.extend(1_u16.to_le_bytes());
        // blazesym adds the two without a look.
        symbol.extend([start, bytes.min(u64::MAX - start)].map(u64::to_le_bytes).concat());
        self.names.extend(name);
        self.names.push(0);
        self.symbols += 1;
        self.file.write_all(&symbol)
    }

    /// The whole file, and its bytes.
    pub(super) fn finish(mut self) -> Result<(File, u64)> {
        let symbols_bytes = SYMBOL_BYTES * self.symbols;
        let names_at = HEADER_BYTES + symbols_bytes;
        let section_names_at = names_at + self.names.len() as u64;
        self.file.write_all(&self.names)?;
        self.file.write_all(SECTION_NAMES)?;
        let end = section_names_at + SECTION_NAMES.len() as u64;
        let headers_at = end.next_multiple_of(8);
        self.file.write_all(&vec![0; (headers_at - end) as usize])?;
        let sections = [
            section(0, format::SHT_NULL, 0, 0, 0, 0),
            section(1, format::SHT_NOBITS, 0, 0, 0, 0),
            section(7, format::SHT_SYMTAB, HEADER_BYTES, symbols_bytes, 3, SYMBOL_BYTES),
            section(15, format::SHT_STRTAB, names_at, self.names.len() as u64, 0, 0),
            section(23, format::SHT_STRTAB, section_names_at, SECTION_NAMES.len() as u64, 0, 0),
        ];
        self.file.write_all(&sections.concat())?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header(headers_at, sections.len() as u16))?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok((file, headers_at + sections.concat().len() as u64))
    }
}

/// `Elf64_Shdr`: name, type, flags, address, offset, size, link, info, alignment, entry size.
pub(super) fn section(name: u32, kind: format::SectionType, at: u64, bytes: u64, link: u32, entry: u64) -> Vec<u8> {
    let mut section = [name, kind.0].map(u32::to_le_bytes).concat();
    section.extend([0, 0, at, bytes].map(u64::to_le_bytes).concat());
    section.extend([link, 0].map(u32::to_le_bytes).concat());
    section.extend([1, entry].map(u64::to_le_bytes).concat());
    section
}

/// `Elf64_Ehdr`, little-endian.
pub(super) fn header(section_headers_at: u64, sections: u16) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend([format::ET_DYN.0, format::EM_X86_64.0].map(u16::to_le_bytes).concat());
    header.extend(1_u32.to_le_bytes());
    header.extend([0, 0, section_headers_at].map(u64::to_le_bytes).concat());
    header.extend(0_u32.to_le_bytes());
    header.extend([HEADER_BYTES as u16, 56, 0, 64, sections, sections - 1].map(u16::to_le_bytes).concat());
    header
}
