//! Why stacks would be incomplete, and names missing.

use super::code::{AllCode, Code};
use super::report::Finding;
use super::runtime::{Language, Runtimes};
use super::table::reason;
use crate::doctor::{Reading, Status};
use crate::output::visible;
use crate::process::{ExecutableKind, Refusal};
use crate::symbolize::SymbolOrigin;

/// Files named for one reason; the rest are counted.
const MAX_NAMED: usize = 10;

/// Why stacks would be incomplete; nothing where they should be whole.
pub(super) fn stacks(code: &AllCode, runtimes: &Runtimes, reading: &Reading) -> Vec<Finding> {
    let mut findings = Vec::new();
    if reading.pid_namespace.status != Status::Ok {
        let check = &reading.pid_namespace;
        findings.push(Finding::new(format!("pid namespace: {}", check.found), &check.fixes.join(" or ")));
    }
    let is_named = code.files.iter().any(|code| code.is_made() && code.symbols.is_ok());
    for language in &runtimes.languages {
        let compiled =
            if is_named { "; those that it compiled have the names that the process gives them" } else { "" };
        let found = format!("{0} functions are missing: {0} frames are not read yet{compiled}", language.name);
        findings.push(Finding::new(found, ""));
    }
    findings.extend(code.files.iter().filter(|code| code.is_made()).filter_map(|code| made(code, runtimes)));
    named(&mut findings, code.files.iter().filter_map(|code| refused(code, reading)));
    named(&mut findings, code.files.iter().filter_map(rowless));
    if code.left_out > 0 {
        findings.push(Finding::new(format!("{} more files were not looked at", code.left_out), ""));
    }
    findings
}

/// Why functions would be without their names.
pub(super) fn names(code: &AllCode, runtimes: &Runtimes) -> Vec<Finding> {
    let mut findings = Vec::new();
    if code.files.iter().any(|code| code.is_made() && code.symbols.is_err()) {
        let found = "code made at run time is [anon]: there is neither a /tmp/perf-PID.map nor a jit-PID.dump";
        findings.push(Finding::new(found.to_owned(), &ways(runtimes, |language| language.perf_map)));
    }
    named(&mut findings, code.files.iter().filter_map(nameless));
    let exported = code.files.iter().filter(|code| has_only_exported(code)).count();
    if exported > 0 {
        let files = if exported == 1 { "1 file has".to_owned() } else { format!("{exported} files have") };
        let found = format!("{files} .dynsym alone: functions that are not exported are shown as file+0x1234");
        findings.push(Finding::new(found, "install the debug packages (-dbgsym, -debuginfo) of these files"));
    }
    findings
}

/// As many as are worth reading.
fn named(findings: &mut Vec<Finding>, mut more: impl Iterator<Item = Finding>) {
    findings.extend(more.by_ref().take(MAX_NAMED));
    let rest = more.count();
    if rest > 0 {
        findings.push(Finding::new(format!("the same holds for {rest} more files"), ""));
    }
}

/// What the languages offer, where they do.
fn ways(runtimes: &Runtimes, way: impl Fn(&Language) -> &'static str) -> String {
    let ways = runtimes.languages.iter().map(|language| way(language)).filter(|way| !way.is_empty());
    ways.collect::<Vec<_>>().join(" or ")
}

fn made(code: &Code, runtimes: &Runtimes) -> Option<Finding> {
    // V8 keeps them.
    if runtimes.languages.iter().any(|language| language.name == "JavaScript") {
        return None;
    }
    let found = format!(
        "{} KiB of code made at run time has no unwind rows: it is walked by frame pointers, and where its compiler \
         leaves them out, callers are missing",
        code.bytes >> 10
    );
    Some(Finding::new(found, &ways(runtimes, |language| language.frame_pointers)))
}

fn refused(code: &Code, reading: &Reading) -> Option<Finding> {
    let ExecutableKind::Refused(refusal) = &code.executable.kind else { return None };
    let found = format!("{}: {refusal}; it is walked by frame pointers", visible(&code.executable.path));
    let fix = match refusal {
        Refusal::NotFound if !reading.missing.is_empty() => {
            format!(
                "grant {}: a file that was deleted or belongs to others is reached with it",
                reading.missing.join(", ")
            )
        }
        Refusal::NotFound => "start the program again: its file was replaced".to_owned(),
        Refusal::Malformed | Refusal::TooLarge => String::new(),
    };
    Some(Finding::new(found, &fix))
}

fn rowless(code: &Code) -> Option<Finding> {
    let (ExecutableKind::Elf { .. }, Err(why)) = (&code.executable.kind, &code.rows) else { return None };
    let path = visible(&code.executable.path);
    let found = format!("{path} has no unwind rows ({}): it is walked by frame pointers", reason(why));
    let fix =
        if *why == "no_cfi" { "compile it with -fasynchronous-unwind-tables or -fno-omit-frame-pointer" } else { "" };
    Some(Finding::new(found, fix))
}

fn nameless(code: &Code) -> Option<Finding> {
    let (ExecutableKind::Elf { .. }, Err(why)) = (&code.executable.kind, &code.symbols) else { return None };
    let path = visible(&code.executable.path);
    let name = path.rsplit('/').next().unwrap_or(&path);
    let found = format!("{path} has no symbols ({}): its functions are shown as {name}+0x1234", reason(why));
    Some(Finding::new(found, "install its debug package, or do not strip it"))
}

fn has_only_exported(code: &Code) -> bool {
    let is_file = !code.executable.path.starts_with('[');
    is_file && matches!(code.symbols.as_deref(), Ok([SymbolOrigin::Section(".dynsym", _)]))
}
