//! ELF files made by hand, as wrong as a test wants them, around a page of code that really runs.

use crate::workload::{run, source};
use std::path::Path;
use std::process::Command;

/// Size of a page, and where the page of code is in a file made here.
pub const PAGE: u64 = 4096;
const HEADER_BYTES: u64 = 64;
const SECTION_BYTES: u16 = 64;
/// `Elf64_Sym`.
pub const SYMBOL_BYTES: u64 = 24;

/// A page of code and where in it the function begins.
#[derive(Clone, Debug)]
pub struct Code {
    /// One page.
    pub page: Vec<u8>,
    /// Offset in it.
    pub entry: u64,
}

impl Code {
    /// Compiles `hostile_code.c` and cuts its page of code out.
    #[must_use]
    pub fn compile(folder: &Path) -> Self {
        let library = folder.join("hostile_code.so");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-g0", "-fno-omit-frame-pointer", "-fcf-protection=none", "-shared", "-fPIC", "-nostdlib"]);
        gcc.args(["-Wl,-z,separate-code,-z,max-page-size=4096,-e,hostile_burn", "-o"]);
        run(gcc.arg(&library).arg(source("hostile_code.c")));
        let bytes = std::fs::read(&library).expect("the library is there");
        // e_entry; text is at the same place in the file as in memory.
        let entry = u64::from_le_bytes(bytes[24..32].try_into().expect("eight bytes"));
        let start = (entry - entry % PAGE) as usize;
        let mut page = bytes[start..bytes.len().min(start + PAGE as usize)].to_vec();
        page.resize(PAGE as usize, 0);
        Self { page, entry: entry % PAGE }
    }
}

/// An ELF file: header, one load segment, the page of code, a symbol table, its names, section headers.
#[derive(Clone, Debug)]
pub struct Elf {
    /// What it is made around.
    pub code: Code,
    /// Symbols, each [`SYMBOL_BYTES`].
    pub symbols: Vec<u8>,
    /// Names.
    pub names: Vec<u8>,
    /// Size of the symbol table as the section header has it; the true one by default.
    pub symbols_bytes: Option<u64>,
    /// Offset of the symbol table as the section header has it.
    pub symbols_at: Option<u64>,
    /// Size of the names as the section header has it.
    pub names_bytes: Option<u64>,
    /// Section that holds the names, as the symbol table has it.
    pub link: u32,
    /// Number of sections as the header has it.
    pub sections: u16,
    /// Where the section headers are, as the header has it.
    pub sections_at: Option<u64>,
    /// Size of section 0, which holds the number of sections when the header's is 0.
    pub null_size: u64,
    /// Number of program headers as the header has it.
    pub segments: u16,
}

impl Elf {
    /// A good file: one function of this name.
    #[must_use]
    pub fn new(code: &Code, name: &[u8]) -> Self {
        let names = [b"\0", name, b"\0"].concat();
        let symbols = [vec![0; SYMBOL_BYTES as usize], symbol(1, PAGE + code.entry, 64)].concat();
        Self {
            code: code.clone(),
            symbols,
            names,
            symbols_bytes: None,
            symbols_at: None,
            names_bytes: None,
            link: 2,
            sections: 3,
            sections_at: None,
            null_size: 0,
            segments: 1,
        }
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let symbols_at = 2 * PAGE;
        let names_at = symbols_at + self.symbols.len() as u64;
        let sections_at = (names_at + self.names.len() as u64).next_multiple_of(8);
        let mut file = self.header(self.sections_at.unwrap_or(sections_at));
        file.resize(PAGE as usize, 0);
        file.extend(&self.code.page);
        file.extend(&self.symbols);
        file.extend(&self.names);
        file.resize(sections_at as usize, 0);
        file.extend(section(0, 0, self.null_size, 0));
        let symbols_bytes = self.symbols_bytes.unwrap_or(self.symbols.len() as u64);
        file.extend(section(2, self.symbols_at.unwrap_or(symbols_at), symbols_bytes, self.link));
        file.extend(section(3, names_at, self.names_bytes.unwrap_or(self.names.len() as u64), 0));
        file
    }

    /// `Elf64_Ehdr` and one `Elf64_Phdr`: PT_LOAD, readable and executable, the whole file at address 0.
    fn header(&self, sections_at: u64) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([3_u16, 62].map(u16::to_le_bytes).concat());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend([PAGE + self.code.entry, HEADER_BYTES, sections_at].map(u64::to_le_bytes).concat());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(
            [HEADER_BYTES as u16, 56, self.segments, SECTION_BYTES, self.sections, 0].map(u16::to_le_bytes).concat(),
        );
        bytes.extend([1_u32, 5].map(u32::to_le_bytes).concat());
        bytes.extend([0, 0, 0, 2 * PAGE, 2 * PAGE, PAGE].map(u64::to_le_bytes).concat());
        bytes
    }
}

/// `Elf64_Sym` of a global function in section 1.
#[must_use]
pub fn symbol(name: u32, value: u64, size: u64) -> Vec<u8> {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend([0x12, 0]);
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend([value, size].map(u64::to_le_bytes).concat());
    bytes
}

/// `Elf64_Shdr` without a name.
fn section(kind: u32, at: u64, size: u64, link: u32) -> Vec<u8> {
    let mut bytes = [0, kind].map(u32::to_le_bytes).concat();
    bytes.extend([0, 0, at, size].map(u64::to_le_bytes).concat());
    bytes.extend([link, 0].map(u32::to_le_bytes).concat());
    bytes.extend([1, SYMBOL_BYTES].map(u64::to_le_bytes).concat());
    bytes
}
