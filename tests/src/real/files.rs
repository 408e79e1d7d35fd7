//! What binutils says of the files that frames are in: where stacks begin, and which addresses have a symbol.

use crate::stacks::Frame;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::process::Command;

/// Bytes of `_start`, which no stripped file has a symbol for.
const START_BYTES: u64 = 0x40;

/// One file.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Code that nothing returns from: the entry point, and rows without a return address.
    roots: Vec<Range<u64>>,
    /// Ends of functions that have a symbol, by their starts.
    functions: BTreeMap<u64, u64>,
    /// Whether every function should have one: `.symtab` is there.
    has_symtab: bool,
}

/// All files seen so far.
#[derive(Debug, Default)]
pub struct Files(HashMap<String, Facts>);

impl Files {
    /// Whether a frame can be a thread's outermost.
    pub fn is_root(&mut self, frame: &Frame) -> bool {
        self.facts(frame).roots.iter().any(|root| root.contains(&frame.address))
    }

    /// Whether a frame is in a function that has a symbol.
    pub fn has_symbol(&mut self, frame: &Frame) -> bool {
        let functions = &self.facts(frame).functions;
        functions.range(..=frame.address).next_back().is_some_and(|(_, end)| frame.address < *end)
    }

    /// Whether a frame is in a file with a whole symbol table.
    pub fn has_symtab(&mut self, frame: &Frame) -> bool {
        self.facts(frame).has_symtab
    }

    fn facts(&mut self, frame: &Frame) -> &Facts {
        self.0.entry(frame.path.clone()).or_insert_with(|| read(&frame.path))
    }
}

/// Empty for what is no file: `[vdso]`, `[kernel]`.
fn read(path: &str) -> Facts {
    if !path.starts_with('/') {
        return Facts::default();
    }
    let sections = tool(&["readelf", "--section-headers", "--wide", path]);
    let mut facts = Facts { has_symtab: sections.contains(" .symtab "), ..Facts::default() };
    let header = tool(&["readelf", "--file-header", path]);
    let entry =
        header.lines().find_map(|line| line.trim().strip_prefix("Entry point address:")?.trim().strip_prefix("0x"));
    let entry = entry.and_then(|entry| u64::from_str_radix(entry, 16).ok());
    facts.roots.extend(entry.filter(|entry| *entry > 0).map(|entry| entry..entry + START_BYTES));
    if path.contains("/libc.so.") {
        facts.roots.extend(rows_without_caller(&tool(&["readelf", "--debug-dump=frames-interp", path])));
    }
    let table = if facts.has_symtab { "--defined-only" } else { "--dynamic" };
    let symbols = tool(&["nm", "--defined-only", table, "--print-size", path]);
    facts.functions = symbols.lines().filter_map(function).collect();
    facts
}

/// Start and end of a sized function in the output of nm.
fn function(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, size, kind) = (number(fields.next()?)?, number(fields.next()?)?, fields.next()?);
    (matches!(kind, "T" | "t" | "W" | "w" | "i") && size > 0).then_some((start, start + size))
}

/// Code whose return address, the last column, is undefined.
fn rows_without_caller(text: &str) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut end = 0;
    for line in text.lines() {
        if let Some((_, range)) = line.split_once("pc=") {
            end = range.split("..").nth(1).and_then(|end| u64::from_str_radix(end, 16).ok()).unwrap_or(0);
        } else if let Some(rest) = line.trim_end().strip_suffix(" u") {
            let start = rest.split(' ').next().and_then(|start| u64::from_str_radix(start, 16).ok());
            ranges.extend(start.filter(|start| *start < end).map(|start| start..end));
        }
    }
    ranges
}

fn tool(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    // readelf ends with 1 where it could warn, too.
    assert!(!output.stdout.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_return_address_are_roots() {
        let text = "00000018 0014 001c FDE cie=0 pc=0000000000000100..0000000000000130\n   LOC CFA rbp ra\n\
            0000000000000100 rsp+8    u     c-8   \n0000000000000110 rsp+8    u     u     \n";
        assert_eq!(rows_without_caller(text), std::slice::from_ref(&(0x110..0x130)));
    }

    #[test]
    fn functions_are_what_has_a_size() {
        assert_eq!(function("0000000000001000 0000000000000020 T main"), Some((0x1000, 0x1020)));
        assert_eq!(function("0000000000001000 T _start"), None);
        assert_eq!(function("0000000000001000 0000000000000020 D data"), None);
    }
}
