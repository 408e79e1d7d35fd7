//! Functions of ELF symbol tables: of the file itself, of its separate debug info, of `.gnu_debugdata`.

use super::aliases::without_version;
use super::source::{Answer, Context, NotOpened, RawName, RawSite, Source};
use super::symbol_index::{SymbolIndex, Table};
use super::{debuginfo, source};
use crate::process::{Executable, ExecutableKind, Refusal};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// The tables of an executable; each is asked for what those before it do not know.
struct SymbolTables(Vec<Symbols>);

/// The symbol tables of an executable. `.symtab` has all functions; without one, what is left is put together.
///
/// # Errors
/// There is no function in any.
pub(super) fn open(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    let tables = tables(executable, context).map_err(NotOpened::Never)?;
    Ok(Box::new(SymbolTables(tables)))
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
        let first = |&address: &u64| {
            let mut answer = Answer::Unknown("no_symbols");
            for symbols in &self.0 {
                answer = symbols.index.answer(address);
                if matches!(answer, Answer::Sites(_)) {
                    break;
                }
            }
            answer
        };
        addresses.iter().map(first).collect()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|symbols| symbols.index.bytes() + symbols.file_bytes).sum()
    }
}

impl SymbolIndex {
    /// The function at an address as the table has it, without a version.
    pub(super) fn answer(&self, address: u64) -> Answer {
        match self.find(address) {
            Ok(mut name) => {
                name.truncate(without_version(name.as_bytes()));
                Answer::Sites(vec![RawSite { name: RawName::Mangled(name), file: Arc::from(""), line: 0 }])
            }
            Err(reason) => Answer::Unknown(reason),
        }
    }
}
