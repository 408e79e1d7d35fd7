//! Unwind rows against an independent reader: whatever `readelf` prints for large programs and their libraries, the
//! tables of the agent say the same. With one exception: where the CFA is in a register, the last byte of a call may say
//! where the called function saved that register.

use profiler_agent::unwind::{UnwindTable, cfi};
use profiler_common::unwind::rule::{self, Rule};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The kernel's `struct pt_regs`.
const SLOTS: [&str; 17] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip",
];
const MAX_SHOWN: usize = 20;

#[test]
fn rows_of_node_and_its_libraries() {
    let compared = compare_all(program("node"));
    assert!(compared["libc.so.6"].rows > 20_000, "{compared:?}");
    // Three of _dl_runtime_resolve, and three of what takes its place with a profiler or an auditor.
    assert_eq!(compared["ld-linux-x86-64.so.2"].calls, 6, "{compared:?}");
    assert!(compared["libstdc++.so.6"].rows > 20_000, "{compared:?}");
    assert!(rows(&compared) > 300_000, "{compared:?}");
}

#[test]
fn rows_of_python_and_its_libraries() {
    let path = output(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
    let compared = compare_all(PathBuf::from(path.trim()));
    assert!(rows(&compared) > 60_000, "{compared:?}");
}

#[test]
fn rows_of_the_java_virtual_machine() {
    let settings = Command::new("java").args(["-XshowSettings:properties", "-version"]).output().unwrap();
    let settings = String::from_utf8(settings.stderr).unwrap();
    let home = settings.lines().find_map(|line| line.trim().strip_prefix("java.home = ")).unwrap();
    let compared = compare_all(Path::new(home).join("lib/server/libjvm.so"));
    assert!(compared["libjvm.so"].rows > 100_000, "{compared:?}");
}

/// What was compared of a file.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    /// Rows that are the same.
    rows: usize,
    /// Calls within them that have a row of their own.
    calls: usize,
}

fn rows(compared: &HashMap<String, Compared>) -> usize {
    compared.values().map(|compared| compared.rows).sum()
}

/// Compares a file and every library that it loads; by file name.
fn compare_all(file: PathBuf) -> HashMap<String, Compared> {
    let libraries = output(Command::new("ldd").arg(&file));
    let paths = libraries.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let files: BTreeSet<PathBuf> = paths.map(PathBuf::from).chain([file]).collect();
    let mut compared = HashMap::new();
    for file in files {
        let of_file = compare(&file);
        let Compared { rows, calls } = of_file;
        println!("{rows:>9} rows of {} are the same, {calls} calls have their own", file.display());
        assert!(rows > 0, "{} has no rows", file.display());
        compared.insert(file.file_name().unwrap().to_str().unwrap().to_owned(), of_file);
    }
    compared
}

fn compare(file: &Path) -> Compared {
    let table = cfi::build(&File::open(file).unwrap()).unwrap();
    let mut readelf = Command::new("readelf");
    // Its own errors are about things that have nothing to do with rows.
    readelf.args(["--wide", "--debug-dump=frames-interp"]).arg(file).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut readelf = readelf.spawn().unwrap();
    let mut reader = Reader::new(&table);
    for line in BufReader::new(readelf.stdout.take().unwrap()).lines() {
        reader.line(&line.unwrap());
    }
    readelf.wait().unwrap();
    reader.close();
    assert!(reader.wrong.is_empty(), "{}:\n{}", file.display(), reader.wrong.join("\n"));
    reader.compared
}

/// A row as it is printed: place of the CFA, then of each register.
type Row = HashMap<String, String>;

struct Reader<'a> {
    table: &'a UnwindTable,
    /// By the offset of each common entry: its row, and whether it is of signal frames.
    common: HashMap<String, (Row, bool)>,
    entry: Option<Entry>,
    columns: Vec<String>,
    compared: Compared,
    wrong: Vec<String>,
}

/// An entry, until its last row is there.
struct Entry {
    offset: String,
    signal: bool,
    /// Addresses of a function; none of a common entry.
    function: Option<(u64, u64)>,
    rows: Vec<(u64, Row)>,
}

impl<'a> Reader<'a> {
    fn new(table: &'a UnwindTable) -> Self {
        Self {
            table,
            common: HashMap::new(),
            entry: None,
            columns: Vec::new(),
            compared: Compared::default(),
            wrong: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [offset, _, _, "CIE", augmentation, ..] => {
                self.close();
                let (offset, signal) = (offset.to_owned(), augmentation.contains('S'));
                self.entry = Some(Entry { offset, signal, function: None, rows: Vec::new() });
            }
            [offset, _, _, "FDE", cie, addresses] => {
                self.close();
                let (common, signal) = &self.common[cie.strip_prefix("cie=").unwrap()];
                let (start, end) = addresses.strip_prefix("pc=").unwrap().split_once("..").unwrap();
                let (start, end) = (hex(start), hex(end));
                let (offset, signal, rows) = (offset.to_owned(), *signal, vec![(start, common.clone())]);
                self.entry = Some(Entry { offset, signal, function: Some((start, end)), rows });
            }
            ["LOC", ref columns @ ..] => self.columns = columns.iter().map(|&column| column.to_owned()).collect(),
            [address, ref places @ ..] if places.len() == self.columns.len() => {
                let Some(entry) = &mut self.entry else { return };
                let pairs = self.columns.iter().cloned().zip(places.iter().map(|&place| place.to_owned()));
                entry.rows.push((hex(address), pairs.collect()));
            }
            _ => {}
        }
    }

    /// Compares the entry at hand: of several rows for one address the last counts.
    fn close(&mut self) {
        self.columns.clear();
        let Some(Entry { offset, signal, function, mut rows }) = self.entry.take() else { return };
        let Some((start, end)) = function else {
            self.common.insert(offset, (rows.pop().map_or_else(Row::new, |(_, row)| row), signal));
            return;
        };
        for (index, (address, row)) in rows.iter().enumerate() {
            let replaced = rows.get(index + 1).is_some_and(|(next, _)| next == address);
            if replaced || !(start..end).contains(address) {
                continue;
            }
            let rule = self.table.rule(*address);
            let same = if signal { rule == Rule::SIGNAL } else { is_same(row, rule) };
            self.compared.rows += 1;
            let next = rows.get(index + 1).map_or(end, |(next, _)| (*next).min(end));
            let calls = if rule.cfa == rule::cfa::REGISTER { self.calls(*address..next, rule) } else { Some(0) };
            self.compared.calls += calls.unwrap_or_default();
            let same = same && calls.is_some();
            if !same && self.wrong.len() < MAX_SHOWN {
                self.wrong.push(format!("{address:#x} of entry {offset}: {row:?} is not {rule:?}"));
            }
        }
    }
}

impl Reader<'_> {
    /// How many bytes of a row whose CFA is in a register say that this register is on the stack, each of them alone;
    /// none where any says something else.
    fn calls(&self, range: Range<u64>, row: Rule) -> Option<usize> {
        let mut calls = 0;
        let mut before = row;
        for rule in range.map(|address| self.table.rule(address)) {
            let call = Rule {
                cfa: rule::cfa::SP_DEREF,
                register: 0,
                cfa_offset: rule.cfa_offset,
                extra: row.cfa_offset,
                ..row
            };
            let is_call = rule == call && before == row && (-128..=-16).contains(&rule.cfa_offset);
            if rule != row && !is_call {
                return None;
            }
            calls += usize::from(is_call);
            before = rule;
        }
        Some(calls)
    }
}

fn is_same(row: &Row, rule: Rule) -> bool {
    let place = |column: &str| row.get(column).map_or("", String::as_str);
    let is_expression = |place: &str| matches!(place, "exp" | "vexp");
    if place("ra") == "u" {
        return rule == Rule::END;
    }
    if rule == Rule::UNSUPPORTED {
        return is_expression(place("CFA")) || is_expression(place("ra")) || !matches!(place("rsp"), "" | "u");
    }
    if rule.cfa == rule::cfa::NONE || rule.cfa > rule::cfa::REGISTER {
        return false;
    }
    cfa_is_same(place("CFA"), rule) && fp_is_same(place("rbp"), rule) && ra_is_same(place("ra"), rule)
}

fn cfa_is_same(place: &str, rule: Rule) -> bool {
    if place == "exp" {
        return matches!(rule.cfa, rule::cfa::PLT | rule::cfa::SP_DEREF | rule::cfa::FP_DEREF);
    }
    let Some((register, offset)) = place.split_once('+') else { return false };
    let kind = match register {
        "rsp" => rule.cfa == rule::cfa::SP,
        "rbp" => rule.cfa == rule::cfa::FP,
        register => rule.cfa == rule::cfa::REGISTER && SLOTS[usize::from(rule.register)] == register,
    };
    kind && offset.parse() == Ok(rule.cfa_offset)
}

/// `u` is printed of what is not saved yet, too.
fn fp_is_same(place: &str, rule: Rule) -> bool {
    match place {
        "" | "s" => rule.fp == rule::fp::SAME,
        "u" => matches!(rule.fp, rule::fp::SAME | rule::fp::UNDEFINED),
        "exp" | "vexp" => rule.fp != rule::fp::SAME,
        place if place.starts_with('c') => rule.fp == rule::fp::AT_CFA && place[1..].parse() == Ok(rule.fp_offset),
        _ => rule.fp == rule::fp::UNDEFINED,
    }
}

fn ra_is_same(place: &str, rule: Rule) -> bool {
    let distance = match rule.ra {
        rule::ra::BELOW_CFA => -8,
        rule::ra::ABOVE_FP => rule.fp_offset + 8,
        rule::ra::AT_CFA => rule.extra,
        rule::ra::REGISTER => return SLOTS[rule.extra as usize] == place,
        _ => return false,
    };
    match place {
        "exp" | "vexp" => rule.ra == rule::ra::AT_CFA,
        place => place.strip_prefix('c').is_some_and(|place| place.parse() == Ok(distance)),
    }
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

/// The file that runs under a name.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed")).canonicalize().unwrap()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
