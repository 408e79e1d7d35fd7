//! DWARF debug info: functions, those inlined at an address too, and their source lines.
//!
//! Input: an executable and addresses in it. Output: per address the functions there, innermost first. Invariant: debug
//! info is as large as its author likes, and may lie: it is read in pages, a unit at a time, in bounded memory and
//! within a budget of time per window; nothing in it is walked by recursion.

mod budget;
mod entry_name;
mod extent;
mod functions;
mod info;
mod lines;
mod load;
mod locate;
mod ranges;
mod reader;
mod sections;
mod unit;
mod units;

use super::debuginfod::DebugFile;
use super::source::{Context, NotOpened, Source};
use crate::process::{Executable, ExecutableKind, Refusal};
use crate::telemetry::metrics::Metric;
pub(super) use budget::Budget;
use info::DebugInfo;
use load::Loaded;
pub(crate) use locate::FoundBy;
use locate::{Located, Missing};
use sections::Sections;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

/// Symbol tables in `.gnu_debugdata` in bytes, packed and unpacked.
const MAX_MINI_BYTES: u64 = 32 << 20;
/// There is separate debug info, but of another build.
const MISMATCH: &str = "mismatch";

/// The debug info of an executable: its own, or that of a separate file.
///
/// # Errors
/// There is none, it cannot be used, or there is no time now.
pub(super) fn open(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else { return Err(NotOpened::Never("no_debug_info")) };
    if context.budget.is_over() {
        return Err(NotOpened::Later);
    }
    let info = context.budget.spend(|| read(executable, file, context))?;
    Ok(Box::new(info))
}

impl From<&'static str> for NotOpened {
    fn from(reason: &'static str) -> Self {
        Self::Never(reason)
    }
}

/// Build ID of a file in lower-case hexadecimal, none without one.
pub(super) fn build_id(file: &File) -> Option<String> {
    let build_id = Sections::read(file).ok()?.build_id;
    (!build_id.is_empty()).then(|| hexadecimal(&build_id))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a debuginfod server has, where one is asked.
fn fetched(build_id: &[u8], context: &Context) -> Result<Located, NotOpened> {
    let debuginfod = context.debuginfod.as_ref().ok_or("no_debug_info")?;
    match debuginfod.debug_file(&hexadecimal(build_id)) {
        DebugFile::Found(file) => locate::fetched(file, build_id).map_err(|_| NotOpened::Never("mismatch")),
        DebugFile::Asked => Err(NotOpened::Later),
        DebugFile::Absent => Err(NotOpened::Never("no_debug_info")),
    }
}

fn read(executable: &Executable, file: &File, context: &Context) -> Result<DebugInfo, NotOpened> {
    let refused = |reason: &'static str| {
        context.metrics.add(Metric::DebugInfoRefused, reason, 1);
        reason
    };
    let located = find(executable, file, context).inspect_err(|why| {
        if *why == NotOpened::Never(MISMATCH) {
            refused(MISMATCH);
        }
    })?;
    let mut supplement = locate::supplement(&located);
    if let (Some(Err(Missing::NotFound)), Some(build_id)) = (&supplement, locate::supplement_id(&located)) {
        match fetched(&build_id, context) {
            Ok(other) => supplement = Some(Ok(other)),
            Err(NotOpened::Later) => return Err(NotOpened::Later),
            Err(NotOpened::Never(_)) => {}
        }
    }
    let mut loaded = load(located, context).map_err(|refusal| refused(reason(refusal)))?;
    match supplement {
        None => {}
        Some(Ok(other)) => {
            let added = load(other, context).and_then(|other| loaded.supplement(other));
            added.map_err(|refusal| refused(reason(refusal)))?;
        }
        // Without it most functions still have names.
        Some(Err(_)) => _ = refused("no_supplement"),
    }
    Ok(DebugInfo::new(loaded, Rc::clone(&context.budget), std::sync::Arc::clone(&context.metrics)))
}

/// The file with the debug info of an executable.
fn find(executable: &Executable, file: &File, context: &Context) -> Result<Located, NotOpened> {
    let sections = Sections::read(file).map_err(Refusal::label)?;
    if sections.get(".debug_info").is_some() {
        return Ok(locate::itself(executable, file, sections).ok_or("no_debug_info")?);
    }
    match locate::separate(executable, file, &sections) {
        Ok(located) if located.sections.get(".debug_info").is_some() => Ok(located),
        Err(Missing::Mismatch) => Err(NotOpened::Never(MISMATCH)),
        Ok(_) | Err(Missing::NotFound) => fetched(&sections.build_id, context),
    }
}

/// Where the debug info of an executable is, and how it was found.
///
/// # Errors
/// There is none, or it cannot be used.
pub(super) fn origin(executable: &Executable, file: &File, context: &Context) -> Result<(PathBuf, FoundBy), NotOpened> {
    let located = find(executable, file, context)?;
    read(executable, file, context)?;
    Ok((located.path, located.found_by))
}

fn load(located: Located, context: &Context) -> Result<Loaded, Refusal> {
    Loaded::new(located.file, &located.sections, &context.budget)
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooLarge => "debug_info_too_large",
        other => other.label(),
    }
}

/// The file that may have the symbol table that this one lacks: separate debug info with its path, or what
/// `.gnu_debugdata` unpacks to, without one.
pub(super) fn symbol_file(executable: &Executable, file: &File, context: &Context) -> Option<(File, Option<PathBuf>)> {
    let sections = Sections::read(file).ok()?;
    let fetched = || fetched(&sections.build_id, context).ok();
    if let Some(located) = locate::separate(executable, file, &sections).ok().or_else(fetched)
        && located.sections.get(".symtab").is_some()
    {
        return Some((located.file, Some(located.path)));
    }
    Some((mini_symbols(file, &sections)?, None))
}

fn mini_symbols(file: &File, sections: &Sections) -> Option<File> {
    let packed = sections.get(".gnu_debugdata")?.unpack(file, MAX_MINI_BYTES).ok()?;
    let unpacked = sections::unxz(&packed, MAX_MINI_BYTES)?;
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("profiler-mini-symbols", flags).ok()?);
    file.write_all(&unpacked).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests;
