//! Where an executable's names come from, for people: what its sources are, in the order in which they are asked.

use super::debuginfo::{self, Budget, FoundBy};
use super::source::{self, Context};
use super::symbol_table::{self, Place};
use crate::golang::Pclntab;
use crate::process::{Executable, ExecutableKind};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A source of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SymbolOrigin {
    /// Go's own table, with so many functions.
    GoTable(u64),
    /// Debug info in the file itself.
    DebugInfo,
    /// Debug info in this file, whose name is the build ID.
    ByBuildId(PathBuf),
    /// Debug info in this file, which a debug link names.
    ByDebugLink(PathBuf),
    /// A section with so many functions.
    Section(&'static str, usize),
    /// The symbol table of this file, with so many functions.
    SeparateSymtab(PathBuf, usize),
    /// `/tmp/perf-PID.map`
    PerfMap,
    /// `jit-PID.dump`
    Jitdump,
}

/// All sources of an executable.
///
/// # Errors
/// The label of why there is none.
pub(crate) fn origins(executable: &Executable) -> Result<Vec<SymbolOrigin>, &'static str> {
    let mut found = Vec::new();
    let mut reason = source::without_sources(&executable.kind);
    match &executable.kind {
        ExecutableKind::Elf { file, .. } => {
            let context = context();
            let table = Pclntab::open(file).ok().flatten();
            found.extend(table.map(|table| SymbolOrigin::GoTable(table.functions())));
            found.extend(debuginfo::origin(executable, file, &context).map(debug_info).ok());
            match symbol_table::tables(executable, &context) {
                Ok(tables) => found.extend(tables.into_iter().map(|table| table_of(table.place, table.index.len()))),
                Err(why) => reason = why,
            }
        }
        ExecutableKind::Jit(code) => {
            found.extend(code.jitdump.as_ref().map(|_| SymbolOrigin::Jitdump));
            found.extend(code.perf_map.as_ref().map(|_| SymbolOrigin::PerfMap));
        }
        _ => {}
    }
    if found.is_empty() { Err(reason) } else { Ok(found) }
}

/// One of its own: nobody waits behind. No server is asked for debug info.
fn context() -> Context {
    Context {
        budget: Rc::new(Budget::new(Duration::from_secs(60))),
        jit_bytes: Rc::new(Cell::new(0)),
        metrics: Arc::default(),
        exported: RefCell::default(),
        debuginfod: None,
        kallsyms: None,
    }
}

fn debug_info((path, found_by): (PathBuf, FoundBy)) -> SymbolOrigin {
    match found_by {
        FoundBy::Itself => SymbolOrigin::DebugInfo,
        FoundBy::BuildId => SymbolOrigin::ByBuildId(path),
        FoundBy::DebugLink => SymbolOrigin::ByDebugLink(path),
    }
}

fn table_of(place: Place, functions: usize) -> SymbolOrigin {
    match place {
        Place::Symtab => SymbolOrigin::Section(".symtab", functions),
        Place::DebugData => SymbolOrigin::Section(".gnu_debugdata", functions),
        Place::Dynsym => SymbolOrigin::Section(".dynsym", functions),
        Place::Separate(path) => SymbolOrigin::SeparateSymtab(path, functions),
    }
}
