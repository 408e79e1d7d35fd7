//! Functions of ELF symbol tables: of the file itself, of its separate debug info, of `.gnu_debugdata`.

use super::aliases::without_version;
use super::source::{Answer, Context, NotOpened, RawName, RawSite, Source};
use super::symbol_file::{self, SymbolFile, Table};
use super::{debuginfo, source};
use crate::process::{Executable, ExecutableKind, Refusal};
use blazesym::symbolize::source::{Elf, Source as Tables};
use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;

/// One symbol table.
struct Symbols {
    symbolizer: Symbolizer,
    tables: Tables<'static>,
    /// Keeps the copy alive: it is named by its descriptor.
    _copy: File,
    bytes: u64,
}

/// The tables of an executable; each is asked for what those before it do not know.
pub(super) struct SymbolTables(Vec<Symbols>);

/// The symbol tables of an executable. `.symtab` has all functions; without one, what is left is put together.
///
/// # Errors
/// There is no function in any.
pub(super) fn open(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    let tables = tables(executable, context).map_err(NotOpened::Never)?;
    Ok(Box::new(SymbolTables(tables.into_iter().map(|(_, copy)| Symbols::new(copy)).collect())))
}

/// What an executable exports, where it is said how far each function goes; none without any.
pub(super) fn exported(executable: &Executable) -> Option<SymbolTables> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else { return None };
    let copy = symbol_file::extract(file, Table::Exported).ok().filter(|copy| copy.functions > 0)?;
    Some(SymbolTables(vec![Symbols::new(copy)]))
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

/// The tables that there are, with at least one function each; at least one.
pub(super) fn tables(executable: &Executable, context: &Context) -> Result<Vec<(Place, SymbolFile)>, &'static str> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else {
        return Err(source::without_sources(&executable.kind));
    };
    let full = symbol_file::extract(file, Table::Full).map_err(Refusal::label)?;
    if full.functions > 0 {
        return Ok(vec![(Place::Symtab, full)]);
    }
    let other = debuginfo::symbol_file(executable, file, context).and_then(|(other, path)| {
        let copy = symbol_file::extract(&other, Table::Full).ok()?;
        Some((path.map_or(Place::DebugData, Place::Separate), copy))
    });
    let own = symbol_file::extract(file, Table::Dynamic).map_err(Refusal::label)?;
    let tables = other.into_iter().chain([(Place::Dynsym, own)]).filter(|(_, copy)| copy.functions > 0);
    Some(tables.collect()).filter(|tables: &Vec<_>| !tables.is_empty()).ok_or("no_symbols")
}

impl Symbols {
    fn new(copy: SymbolFile) -> Self {
        let path = format!("/proc/self/fd/{}", copy.file.as_raw_fd());
        let tables = Tables::Elf(Elf { debug_syms: false, ..Elf::new(path) });
        Self { symbolizer: symbolizer(), tables, bytes: copy.bytes, _copy: copy.file }
    }
}

impl Source for SymbolTables {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let mut answers = vec![Answer::Unknown("no_symbols"); addresses.len()];
        for symbols in &self.0 {
            let open = |answer: &Answer| matches!(answer, Answer::Unknown(_));
            let asked: Vec<usize> = (0..addresses.len()).filter(|&index| open(&answers[index])).collect();
            let input: Vec<u64> = asked.iter().map(|&index| addresses[index]).collect();
            let found = names(&symbols.symbolizer, &symbols.tables, Input::VirtOffset(&input));
            for (index, answer) in asked.into_iter().zip(found) {
                answers[index] = answer;
            }
        }
        answers
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|symbols| symbols.bytes).sum()
    }
}

/// One that only looks at symbols.
fn symbolizer() -> Symbolizer {
    Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).enable_demangling(false).build()
}

/// Symbol names as the tables have them, without versions.
fn names(symbolizer: &Symbolizer, tables: &Tables<'_>, input: Input<&[u64]>) -> Vec<Answer> {
    let count = match input {
        Input::AbsAddr(addresses) | Input::VirtOffset(addresses) | Input::FileOffset(addresses) => addresses.len(),
    };
    if count == 0 {
        return Vec::new();
    }
    let found = match symbolizer.symbolize(tables, input) {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, source = ?tables, "symbols cannot be used");
            return vec![Answer::Unknown("malformed"); count];
        }
    };
    let answer = |symbolized: Symbolized<'_>| match symbolized {
        // An offset into the table of names that hits the end of another name.
        Symbolized::Sym(symbol) if symbol.name.is_empty() => Answer::Unknown("unnamed"),
        Symbolized::Sym(symbol) => {
            let name = &symbol.name[..without_version(symbol.name.as_bytes())];
            let name = RawName::Mangled(name.to_owned());
            Answer::Sites(vec![RawSite { name, file: Arc::from(""), line: 0 }])
        }
        Symbolized::Unknown(Reason::MissingSyms) => Answer::Unknown("no_symbols"),
        Symbolized::Unknown(Reason::UnknownAddr) => Answer::Unknown("unknown_address"),
        Symbolized::Unknown(_) => Answer::Unknown("other"),
    };
    found.into_iter().map(answer).collect()
}
