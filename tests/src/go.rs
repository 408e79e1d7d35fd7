//! Go programs, built by the host's Go, and what Go's own tools say about them.

use crate::workload::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A row of `.debug_frame`: from this address on the CFA is the stack pointer plus so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugRow {
    /// Where it begins.
    pub start: u64,
    /// Where the next one begins.
    pub end: u64,
    /// CFA minus stack pointer.
    pub offset: i32,
    /// The return address lies on the stack.
    pub on_stack: bool,
}

/// Builds a workload of Go into `folder`; `settings` are variables of `go build`, `KEY=VALUE`.
#[must_use]
pub fn build(folder: &Path, workload: &str, name: &str, settings: &[&str], flags: &[&str]) -> PathBuf {
    let program = folder.join(name);
    let sources = folder.join(workload);
    std::fs::create_dir_all(&sources).unwrap();
    for source in std::fs::read_dir(crate::workload::source(workload)).unwrap() {
        let source = source.unwrap();
        std::fs::copy(source.path(), sources.join(source.file_name())).unwrap();
    }
    std::fs::write(sources.join("go.mod"), "module workload\n\ngo 1.21\n").unwrap();
    let mut go = Command::new("go");
    go.current_dir(&sources).env("GOFLAGS", "").env("GOWORK", "off").env("GOTOOLCHAIN", "local");
    go.envs(settings.iter().filter_map(|setting| setting.split_once('=')));
    run(go.args(["build", "-o"]).arg(&program).args(flags).arg("."));
    program
}

/// Addresses and names of the functions of a program that is not stripped.
#[must_use]
pub fn functions(program: &Path) -> Vec<(u64, String)> {
    let text = output(Command::new("go").args(["tool", "nm", "-n"]).arg(program));
    let function = |line: &str| {
        let mut words = line.trim_start().splitn(3, ' ');
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next()?;
        (kind == "T" || kind == "t").then_some((address, words.next()?.to_owned()))
    };
    text.lines().filter_map(function).collect()
}

/// Function, file and line of addresses.
#[must_use]
pub fn lines(program: &Path, addresses: &[u64]) -> Vec<(String, String)> {
    let mut child = Command::new("go")
        .args(["tool", "addr2line"])
        .arg(program)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let text: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2 * addresses.len());
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// `.debug_frame` as readelf reads it.
#[must_use]
pub fn debug_rows(program: &Path) -> Vec<DebugRow> {
    let text = output(Command::new("readelf").args(["--wide", "--debug-dump=frames-interp"]).arg(program));
    let mut rows: Vec<DebugRow> = Vec::new();
    let mut end = 0;
    let mut open = false;
    for line in text.lines() {
        if let Some((_, range)) = line.split_once(" pc=") {
            end = u64::from_str_radix(range.split("..").nth(1).unwrap().trim(), 16).unwrap();
            open = false;
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, cfa, rules @ ..] = &words[..] else { continue };
        let Some(offset) = cfa.strip_prefix("rsp+").or_else(|| cfa.strip_prefix("sp+")) else { continue };
        let start = u64::from_str_radix(address, 16).unwrap();
        if end == 0 {
            continue;
        }
        if open && let Some(last) = rows.last_mut() {
            last.end = start;
        }
        // A top of stack has no return address.
        if rules.first() == Some(&"u") {
            open = false;
            continue;
        }
        let on_stack = rules.first().is_some_and(|rule| rule.starts_with('c'));
        rows.push(DebugRow { start, end, offset: offset.parse().unwrap(), on_stack });
        open = true;
    }
    rows.retain(|row| row.start < row.end);
    rows
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a program one without section headers.
pub fn cut_section_headers(program: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(program).unwrap();
    // e_shoff, and e_shnum with e_shstrndx.
    file.write_all_at(&[0; 8], 0x28).unwrap();
    file.write_all_at(&[0; 4], 0x3c).unwrap();
}
