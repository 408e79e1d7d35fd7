//! Functions of ELF symbol tables: of the file itself, of its separate debug info, of `.gnu_debugdata`.

use super::aliases::without_version;
use super::source::{Answer, Context, NotOpened, RawName, RawSite, Source};
use super::symbol_index::{SymbolIndex, Table};
use super::{debuginfo, source};
use crate::process::{Executable, ExecutableKind, Refusal};
use blazesym::symbolize::source::{Elf, Source as Tables};
use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Functions that are copied for blazesym, which maps what it reads: a larger table would take many times the memory of
/// its [`SymbolIndex`], and is looked up where it is.
const MAX_COPIED: usize = 16_384;
/// Bytes of their names.
const MAX_COPIED_NAME_BYTES: usize = 4 << 20;

/// The tables of an executable; each is asked for what those before it do not know.
struct SymbolTables(Vec<Opened>);

/// A symbol table that is used.
enum Opened {
    Copied(Box<Copied>),
    InPlace(Symbols),
}

/// A copy of a symbol table.
struct Copied {
    symbolizer: Symbolizer,
    tables: Tables<'static>,
    /// Keeps it alive: it is named by its descriptor.
    _file: File,
    bytes: u64,
}

/// The symbol tables of an executable. `.symtab` has all functions; without one, what is left is put together.
///
/// # Errors
/// There is no function in any.
pub(super) fn open(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    let tables = tables(executable, context).map_err(NotOpened::Never)?;
    Ok(Box::new(SymbolTables(tables.into_iter().map(Opened::new).collect())))
}

/// What an executable exports, where it is said how far each function goes; none without any.
pub(super) fn exported(executable: &Executable, context: &Context) -> Option<Rc<SymbolIndex>> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else { return None };
    let mut exported = context.exported.borrow_mut();
    if let Some(known) = exported.get(&executable.id).and_then(Weak::upgrade) {
        return Some(known);
    }
    let index = SymbolIndex::read(file, Table::Exported).ok().filter(|index| index.len() > 0)?;
    let index = Rc::new(index);
    exported.retain(|_, index| index.strong_count() > 0);
    exported.insert(executable.id, Rc::downgrade(&index));
    Some(index)
}

/// Where a symbol table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `.symtab`
    Symtab,
    /// `.symtab` of the separate debug info at this path.
    Separate(PathBuf),
    /// `.gnu_debugdata`
    DebugData,
    /// `.dynsym`
    Dynsym,
}

/// One symbol table.
pub(super) struct Symbols {
    pub(super) place: Place,
    pub(super) index: SymbolIndex,
    /// Bytes of its file, where that is in memory.
    file_bytes: u64,
}

/// The tables that there are, with at least one function each; at least one.
pub(super) fn tables(executable: &Executable, context: &Context) -> Result<Vec<Symbols>, &'static str> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else {
        return Err(source::without_sources(&executable.kind));
    };
    let full = SymbolIndex::read(file, Table::Full).map_err(Refusal::label)?;
    if full.len() > 0 {
        return Ok(vec![Symbols { place: Place::Symtab, index: full, file_bytes: 0 }]);
    }
    let other = debuginfo::symbol_file(executable, file, context).and_then(|(other, path)| {
        let index = SymbolIndex::read(&other, Table::Full).ok()?;
        let file_bytes = if path.is_none() { other.metadata().map_or(0, |metadata| metadata.len()) } else { 0 };
        Some(Symbols { place: path.map_or(Place::DebugData, Place::Separate), index, file_bytes })
    });
    let own = SymbolIndex::read(file, Table::Dynamic).map_err(Refusal::label)?;
    let own = Symbols { place: Place::Dynsym, index: own, file_bytes: 0 };
    let tables = other.into_iter().chain([own]).filter(|symbols| symbols.index.len() > 0);
    Some(tables.collect()).filter(|tables: &Vec<_>| !tables.is_empty()).ok_or("no_symbols")
}

impl Source for SymbolTables {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let mut answers = vec![Answer::Unknown("no_symbols"); addresses.len()];
        for opened in &self.0 {
            let open = |answer: &Answer| matches!(answer, Answer::Unknown(_));
            let asked: Vec<usize> = (0..addresses.len()).filter(|&index| open(&answers[index])).collect();
            let input: Vec<u64> = asked.iter().map(|&index| addresses[index]).collect();
            for (index, answer) in asked.into_iter().zip(opened.find(&input)) {
                answers[index] = answer;
            }
        }
        answers
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(Opened::bytes).sum()
    }
}

impl Opened {
    fn new(symbols: Symbols) -> Self {
        let copy = (symbols.index.len() <= MAX_COPIED).then(|| symbols.index.copy(MAX_COPIED_NAME_BYTES)).flatten();
        match copy {
            Some((file, bytes)) => Self::Copied(Box::new(Copied::new(file, bytes))),
            None => Self::InPlace(symbols),
        }
    }

    fn find(&self, addresses: &[u64]) -> Vec<Answer> {
        match self {
            Self::Copied(copied) => copied.find(addresses),
            Self::InPlace(symbols) => addresses.iter().map(|&address| symbols.index.answer(address)).collect(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Copied(copied) => copied.bytes,
            Self::InPlace(symbols) => symbols.index.bytes() + symbols.file_bytes,
        }
    }
}

impl Copied {
    fn new(file: File, bytes: u64) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let tables = Tables::Elf(Elf { debug_syms: false, ..Elf::new(path) });
        let symbolizer = Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false);
        Self { symbolizer: symbolizer.enable_demangling(false).build(), tables, _file: file, bytes }
    }

    fn find(&self, addresses: &[u64]) -> Vec<Answer> {
        match self.symbolizer.symbolize(&self.tables, Input::VirtOffset(addresses)) {
            Ok(found) => found.into_iter().map(answer).collect(),
            Err(error) => {
                tracing::debug!(%error, source = ?self.tables, "symbols cannot be used");
                vec![Answer::Unknown("malformed"); addresses.len()]
            }
        }
    }
}

fn answer(symbolized: Symbolized<'_>) -> Answer {
    match symbolized {
        // An offset into the table of names that hits the end of another name.
        Symbolized::Sym(symbol) if symbol.name.is_empty() => Answer::Unknown("unnamed"),
        Symbolized::Sym(symbol) => named(symbol.name.into_owned()),
        Symbolized::Unknown(Reason::MissingSyms) => Answer::Unknown("no_symbols"),
        Symbolized::Unknown(Reason::UnknownAddr) => Answer::Unknown("unknown_address"),
        Symbolized::Unknown(_) => Answer::Unknown("other"),
    }
}

/// A function as the table has it, without a version.
fn named(mut name: String) -> Answer {
    name.truncate(without_version(name.as_bytes()));
    Answer::Sites(vec![RawSite { name: RawName::Mangled(name), file: Arc::from(""), line: 0 }])
}

impl SymbolIndex {
    /// The function at an address.
    pub(super) fn answer(&self, address: u64) -> Answer {
        self.find(address).map_or_else(Answer::Unknown, named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(answer: Answer) -> Result<String, &'static str> {
        match answer {
            Answer::Sites(mut sites) => match sites.pop().unwrap().name {
                RawName::Mangled(name) => Ok(name),
                other => panic!("{other:?}"),
            },
            Answer::Unknown(reason) => Err(reason),
            Answer::Later => panic!("symbols are there at once"),
        }
    }

    /// All of the C library's, and what lies between them.
    #[test]
    fn a_copy_says_what_the_file_says() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().find_map(|line| line.split_once('/').filter(|(_, path)| path.ends_with("/libc.so.6")));
        let file = File::open(format!("/{}", libc.unwrap().1)).unwrap();
        let symbols =
            |table| Symbols { place: Place::Dynsym, index: SymbolIndex::read(&file, table).unwrap(), file_bytes: 0 };
        for table in [Table::Dynamic, Table::Exported] {
            let (copied, in_place) = (Opened::new(symbols(table)), Opened::InPlace(symbols(table)));
            assert!(matches!(copied, Opened::Copied(_)) && copied.bytes() > 50_000);
            let addresses: Vec<u64> = (0..0x20_0000).step_by(31).collect();
            let [copied, in_place] = [copied, in_place].map(|opened| opened.find(&addresses));
            let mut named = 0;
            for ((address, copied), in_place) in addresses.iter().zip(copied).zip(in_place) {
                let (copied, in_place) = (name(copied), name(in_place));
                assert_eq!(copied, in_place, "{address:x}");
                named += usize::from(copied.is_ok());
            }
            assert!(named > 10_000, "{named} of {}", addresses.len());
        }
    }
}
