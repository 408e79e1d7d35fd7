//! The code of a process: each file that it maps executable, with its rows and symbols.

use crate::process::{Executable, ExecutableKind, Mapping, ProcessKey, ProcessTable};
use crate::symbolize::{SymbolOrigin, origins};
use crate::unwind::RowOrigin;
use std::collections::HashMap;
use std::sync::Arc;

/// Files looked at.
const MAX_FILES: usize = 64;
/// Kernels of today leave it to emulation: nothing executes there.
const VSYSCALL: &str = "[vsyscall]";

/// One file, or all memory without one.
#[derive(Clone, Debug)]
pub(super) struct Code {
    /// What it is.
    pub(super) executable: Arc<Executable>,
    /// Bytes of it that are mapped executable.
    pub(super) bytes: u64,
    /// Its rows, or the label of why there are none.
    pub(super) rows: Result<RowOrigin, &'static str>,
    /// Its symbols, or the label of why there are none.
    pub(super) symbols: Result<Vec<SymbolOrigin>, &'static str>,
}

impl Code {
    /// Looks at an executable.
    pub(super) fn new(executable: Arc<Executable>, bytes: u64) -> Self {
        let rows = match &executable.kind {
            ExecutableKind::Elf { file, .. } => RowOrigin::of(file),
            ExecutableKind::Refused(refusal) => Err(refusal.label()),
            _ => Err("anonymous"),
        };
        let symbols = origins(&executable);
        Self { executable, bytes, rows, symbols }
    }

    /// Whether it was made at run time.
    pub(super) fn is_made(&self) -> bool {
        matches!(self.executable.kind, ExecutableKind::Anonymous | ExecutableKind::Jit(_))
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct AllCode {
    /// The program itself, then the largest first.
    pub(super) files: Vec<Code>,
    /// Files that were not looked at.
    pub(super) left_out: usize,
}

/// Mappings of one file.
struct Group {
    first: Mapping,
    bytes: u64,
}

/// Looks at what a process maps that runs this program.
pub(super) fn read(processes: &mut ProcessTable, key: ProcessKey, program: &str) -> AllCode {
    let mut groups = group(processes, key);
    groups.sort_by_key(|group| (*group.first.path != *program, std::cmp::Reverse(group.bytes)));
    let left_out = groups.len().saturating_sub(MAX_FILES);
    let mut bound: Vec<(Arc<Executable>, u64)> = Vec::new();
    for group in groups.iter().take(MAX_FILES) {
        let Some(code) = processes.user_address(key, group.first.start, 0) else { continue };
        match bound.iter_mut().find(|(executable, _)| executable.id == code.executable.id) {
            Some((_, bytes)) => *bytes += group.bytes,
            None => bound.push((code.executable, group.bytes)),
        }
    }
    AllCode { files: bound.into_iter().map(|(executable, bytes)| Code::new(executable, bytes)).collect(), left_out }
}

/// By file, in order of address.
fn group(processes: &mut ProcessTable, key: ProcessKey) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places = HashMap::new();
    processes.each_mapping(key, |mapping, _| {
        if &*mapping.path == VSYSCALL {
            return;
        }
        let bytes = mapping.end - mapping.start;
        let name = Some(Arc::clone(&mapping.path)).filter(|path| mapping.key.inode == 0 && &**path == "[vdso]");
        let place = *places.entry((mapping.key, name)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.bytes += bytes,
            None => groups.push(Group { first: mapping.clone(), bytes }),
        }
    });
    groups
}
