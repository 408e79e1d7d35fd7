//! Where names come from: each source is asked for what those before it left open.

use super::debuginfo::Budget;
use super::debuginfod::Debuginfod;
use super::symbol_index::SymbolIndex;
use super::{exported, go, jit, kernel};
use crate::process::{Executable, ExecutableKind};
use crate::telemetry::metrics::Metrics;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// A function at an address as a source knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawSite {
    /// Its name.
    pub(super) name: RawName,
    /// Source file, empty when unknown.
    pub(super) file: Arc<str>,
    /// Source line, 0 when unknown.
    pub(super) line: u32,
}

/// What a source calls a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawName {
    /// Not known here: a later source may know it.
    Unknown,
    /// As its author wrote it.
    Exact(String),
    /// As its author wrote it, without scope and arguments: a later source may know a mangled one.
    Short(String),
    /// As the linker knows it: demangled if it is mangled.
    Mangled(String),
}

/// What a source knows of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Functions, the innermost inlined one first; at least one.
    Sites(Vec<RawSite>),
    /// Nothing, and why.
    Unknown(&'static str),
    /// Nothing now; worth asking again in a later window.
    Later,
}

/// Names for the addresses of one executable.
pub(super) trait Source {
    /// One answer per address, in their order.
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer>;

    /// Memory held, in bytes.
    fn bytes(&self) -> u64;
}

/// What sources share.
pub(super) struct Context {
    pub(super) budget: Rc<Budget>,
    /// Bytes that may still be read in this window of what processes say about code made at run time.
    pub(super) jit_bytes: Rc<Cell<u64>>,
    pub(super) metrics: Arc<Metrics>,
    /// What executables export, by their ids, while a source of them needs it.
    pub(super) exported: RefCell<HashMap<u32, Weak<SymbolIndex>>>,
    /// Servers that may have debug info.
    pub(super) debuginfod: Option<Arc<Debuginfod>>,
    /// The kernel's symbols, opened by somebody who may see their addresses.
    pub(super) kallsyms: Option<Arc<File>>,
}

/// Why a source is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// The file has none.
    Never(&'static str),
    /// No time now.
    Later,
}

/// Opens a source of an executable.
pub(super) type Opener = fn(&Executable, &Context) -> Result<Box<dyn Source>, NotOpened>;

/// The sources of an executable in the order in which they are asked.
pub(super) fn openers(kind: &ExecutableKind) -> &'static [Opener] {
    match kind {
        ExecutableKind::Elf { .. } => &[go::open, exported::debug_info, exported::symbols],
        ExecutableKind::Kernel => &[kernel::open],
        ExecutableKind::Jit(_) => &[jit::open],
        ExecutableKind::Anonymous | ExecutableKind::Unmapped | ExecutableKind::Refused(_) => &[],
    }
}

/// Why an executable without any source has no names.
pub(super) fn without_sources(kind: &ExecutableKind) -> &'static str {
    match kind {
        ExecutableKind::Anonymous => "anonymous",
        ExecutableKind::Unmapped => "unmapped",
        ExecutableKind::Refused(refusal) => refusal.label(),
        ExecutableKind::Elf { .. } | ExecutableKind::Kernel | ExecutableKind::Jit(_) => "no_symbols",
    }
}

/// Whether what was found once is true for good: other code may take the place of code made at run time and of the
/// kernel's modules, and their sources are quick to ask again.
pub(super) fn is_lasting(kind: &ExecutableKind) -> bool {
    !matches!(kind, ExecutableKind::Jit(_) | ExecutableKind::Kernel)
}
