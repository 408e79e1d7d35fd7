//! Go programs are named and unwound from their own tables: plain, stripped, position-independent, with C, and for the
//! other architecture. The truth is what Go's tools, its debug information and the programs themselves say.

use profiler_agent::golang::{self, Frames, Pclntab, Site};
use profiler_common::outcome::UnwindStop;
use profiler_common::unwind::rule::{cfa, ra};
use profiler_common::unwind::{Cursor, arch, step};
use profiler_tests::go::{build, debug_rows, functions, lines};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const VARIANTS: &[(&str, &[&str], &[&str])] = &[
    ("plain", &["CGO_ENABLED=0"], &[]),
    ("trimpath", &["CGO_ENABLED=0"], &["-trimpath"]),
    ("pie", &["CGO_ENABLED=0"], &["-buildmode=pie"]),
    ("external", &["CGO_ENABLED=1"], &["-ldflags=-linkmode=external"]),
    ("external_pie", &["CGO_ENABLED=1"], &["-buildmode=pie", "-ldflags=-linkmode=external"]),
    ("arm64", &["CGO_ENABLED=0", "GOARCH=arm64"], &[]),
];

fn open(program: &Path) -> (File, Pclntab) {
    let file = File::open(program).unwrap();
    let table = Pclntab::open(&file).unwrap().unwrap();
    (file, table)
}

/// Every 17th address of the functions' text.
fn addresses(program: &Path) -> Vec<u64> {
    let functions: Vec<u64> = functions(program).into_iter().map(|(address, _)| address).collect();
    functions.windows(2).step_by(7).flat_map(|pair| (pair[0]..pair[1]).step_by(17)).take(20_000).collect()
}

/// Names of C begin as they like; symbols of Go have a suffix for assembly that the table does not have.
fn same_function(table: &str, tool: &str) -> bool {
    table == tool.trim_end_matches(".abi0").trim_end_matches(".abiinternal")
}

/// As the runtime prints it: without the arguments of its type.
fn printed(site: &Site) -> String {
    match (site.function.find('['), site.function.rfind(']')) {
        (Some(start), Some(end)) => format!("{}[...]{}", &site.function[..start], &site.function[end + 1..]),
        _ => site.function.clone(),
    }
}

#[test]
fn functions_and_lines_are_those_of_addr2line() {
    let folder = tempfile::tempdir().unwrap();
    for (name, settings, flags) in VARIANTS {
        let program = build(folder.path(), "go_names", name, settings, flags);
        let (file, table) = open(&program);
        let addresses = addresses(&program);
        let mut same = 0;
        for (address, (function, place)) in addresses.iter().zip(lines(&program, &addresses)) {
            let sites = table.sites(&file, *address);
            let (Some(inner), Some(outer)) = (sites.first(), sites.last()) else { continue };
            assert!(same_function(&outer.function, &function), "{name} {address:#x}: {sites:?}, {function}");
            // Code that the compiler makes up has neither file nor line; the tool says so in its own way.
            if !inner.file.is_empty() {
                assert_eq!(format!("{}:{}", inner.file, inner.line), place, "{name} {address:#x} {function}");
            }
            same += 1;
        }
        assert!(same * 10 > addresses.len() * 9, "{name}: {same} of {}", addresses.len());
    }
}

#[test]
fn stripped_programs_have_the_same_names() {
    let folder = tempfile::tempdir().unwrap();
    for (name, settings, flags) in VARIANTS {
        let whole = build(folder.path(), "go_names", name, settings, flags);
        let stripped = folder.path().join("stripped");
        let headless = folder.path().join("headless");
        std::fs::copy(&whole, &stripped).unwrap();
        if *name != "arm64" {
            profiler_tests::workload::run(Command::new("strip").arg("--strip-all").arg(&stripped));
        }
        std::fs::copy(&stripped, &headless).unwrap();
        profiler_tests::go::cut_section_headers(&headless);
        let (file, table) = open(&whole);
        for other in [&stripped, &headless] {
            let (other_file, other) = open(other);
            let mut inlined = 0;
            for address in addresses(&whole) {
                let sites = table.sites(&file, address);
                assert_eq!(sites, other.sites(&other_file, address), "{name} {address:#x}");
                inlined += usize::from(sites.len() > 1);
            }
            assert!(inlined > 100, "{name}: {inlined}");
            assert_eq!(golang::table(&file).unwrap(), golang::table(&other_file).unwrap());
        }
    }
}

#[test]
fn chains_of_inlined_calls_are_those_of_the_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "go_names", "plain", &["CGO_ENABLED=0"], &[]);
    let (file, table) = open(&program);
    let output = Command::new(&program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut longest = Vec::new();
    for stack in text.split("\n\n").filter(|stack| !stack.is_empty()) {
        let frames: Vec<Vec<&str>> = stack.lines().map(|line| line.split(' ').collect()).collect();
        for (index, frame) in frames.iter().enumerate() {
            let sites = table.sites(&file, u64::from_str_radix(frame[0], 16).unwrap());
            for (site, frame) in sites.iter().zip(&frames[index..]) {
                assert_eq!((&*printed(site), &*site.file, site.line), (frame[1], frame[2], frame[3].parse().unwrap()));
            }
            assert!(!sites.is_empty() && sites.len() <= frames.len() - index);
            longest = if sites.len() > longest.len() { sites } else { longest };
        }
    }
    let literal = |site: &Site| (site.function.clone(), site.line, site.start_line);
    let expected = [("main.inner", 25, 25), ("main.shape.middle", 23, 23), ("main.outer", 21, 21)];
    assert_eq!(
        longest.iter().map(literal).collect::<Vec<_>>(),
        expected.map(|(name, line, start)| (name.to_owned(), line, start))
    );
}

#[test]
fn rows_are_those_of_debug_frame() {
    let folder = tempfile::tempdir().unwrap();
    for (name, settings, flags) in VARIANTS {
        let program = build(folder.path(), "go_names", name, settings, flags);
        let (file, table) = open(&program);
        let frames = Frames::load(&table, &file).unwrap();
        let rows = golang::table(&file).unwrap().unwrap();
        let mut special = HashSet::new();
        let mut same = 0;
        for row in debug_rows(&program) {
            // C's, in programs with C.
            if !frames.text().contains(&row.start) {
                continue;
            }
            for address in [row.start, row.end - 1] {
                let rule = rows.rule(address);
                if rule.cfa != cfa::SP {
                    special.insert(table.sites(&file, address).pop().unwrap().function);
                    continue;
                }
                assert_eq!(rule.cfa_offset, row.offset, "{name} {address:#x}");
                if *name == "arm64" {
                    assert_eq!(rule.ra != ra::LINK, row.on_stack, "{name} {address:#x}");
                }
                same += 1;
            }
        }
        assert!(same > 10_000, "{name}: {same}");
        assert!(special.contains("runtime.mcall") && special.len() < 40, "{special:?}");
    }
}

#[test]
fn other_files_are_no_go_programs() {
    for path in ["/bin/sh", "/proc/self/exe"] {
        assert!(Pclntab::open(&File::open(path).unwrap()).unwrap().is_none(), "{path}");
    }
}

/// Where the workload was interrupted.
fn cursor(line: &str) -> (Cursor, u64, u64) {
    let words: Vec<u64> = line.split_whitespace().map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
    let [pc, sp, fp, link, thread_pointer, g] = words[..] else { panic!("{line}") };
    (Cursor { pc, sp, fp, link, flags: step::EXACT | step::INNERMOST }, thread_pointer, g)
}

struct Memory<'a> {
    file: &'a File,
    thread_pointer: u64,
    g: u64,
}

impl step::Stack for Memory<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, address).ok().map(|()| u64::from_le_bytes(bytes))
    }

    fn register(&self, slot: u32) -> Option<u64> {
        (slot == 28).then_some(self.g)
    }

    fn thread_pointer(&self) -> Option<u64> {
        Some(self.thread_pointer)
    }
}

#[cfg(target_arch = "x86_64")]
type Host = arch::X86_64;
#[cfg(target_arch = "aarch64")]
type Host = arch::Aarch64;

/// `_cgo_Cfunc_c_outer` for `_cgo_43e7365d2b9f_Cfunc_c_outer`: the number changes with the sources.
fn without_hash(name: &str) -> String {
    let is_hash = |part: &&str| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split('_').filter(|part| !is_hash(part)).collect::<Vec<_>>().join("_")
}

/// Interrupts a workload so many times; gives each stack's functions, outermost first, and why its walk ended.
fn stacks(mode: &str, count: usize) -> Vec<(Vec<String>, UnwindStop)> {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "go_stacks", "stacks", &["CGO_ENABLED=1"], &["-buildmode=exe"]);
    let (file, table) = open(&program);
    let rows = golang::table(&file).unwrap().unwrap();
    let c = functions(&program);
    let mut known = HashMap::new();
    let find = |address: u64| match table.sites(&file, address).pop() {
        Some(site) => without_hash(&site.function),
        None => match c.partition_point(|(start, _)| *start <= address) {
            0 => String::from("?"),
            after if after == c.len() => String::from("?"),
            after => without_hash(&c[after - 1].1),
        },
    };
    let mut name = |address: u64| known.entry(address).or_insert_with(|| find(address)).clone();
    let mut child = Command::new(&program).arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let memory = File::open(format!("/proc/{}/mem", child.id())).unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stacks = Vec::new();
    while stacks.len() < count {
        let (mut cursor, thread_pointer, g) = cursor(&lines.next().unwrap().unwrap());
        let memory = Memory { file: &memory, thread_pointer, g };
        let mut functions = Vec::new();
        let stop = loop {
            functions.push(name(cursor.lookup_address()));
            if functions.len() > 20_000 {
                break UnwindStop::TooDeep;
            }
            match step::step::<Host>(cursor, rows.rule(cursor.lookup_address()), &memory) {
                Ok(caller) => cursor = caller,
                Err(stop) => break stop,
            }
        };
        functions.reverse();
        stacks.push((functions, stop));
        input.write_all(b"x").unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    stacks
}

/// Walks that end at the outermost frame, out of those that never were in a library, whose rows are another's matter.
fn complete(stacks: &[(Vec<String>, UnwindStop)]) -> Vec<&[String]> {
    let own: Vec<_> = stacks.iter().filter(|(functions, _)| !functions.contains(&String::from("?"))).collect();
    for (functions, stop) in &own {
        if *stop != UnwindStop::Root {
            println!("{stop:?}: {functions:?}");
        }
    }
    let complete: Vec<&[String]> =
        own.iter().filter(|(_, stop)| *stop == UnwindStop::Root).map(|(functions, _)| &functions[..]).collect();
    assert!(own.len() * 10 > stacks.len() * 8, "{} of {} in the program", own.len(), stacks.len());
    assert!(complete.len() * 100 >= own.len() * 99, "{} of {} complete", complete.len(), own.len());
    complete
}

/// Every stack with this function is complete and begins with the chain; all but one in a hundred.
fn assert_chain(stacks: &[(Vec<String>, UnwindStop)], function: &str, chain: &[&str]) {
    let with: Vec<_> = stacks.iter().filter(|(functions, _)| functions.iter().any(|name| name == function)).collect();
    assert!(with.len() * 2 > stacks.len(), "{} of {} have {function}", with.len(), stacks.len());
    let same = |(functions, stop): &&&(Vec<String>, UnwindStop)| {
        *stop == UnwindStop::Root && functions.len() >= chain.len() && functions.iter().zip(chain).all(|(a, b)| a == b)
    };
    let other: Vec<_> = with.iter().filter(|stack| !same(stack)).collect();
    assert!(other.len() * 100 <= with.len(), "{} of {}: {:?}", other.len(), with.len(), other[0]);
}

const C_CHAIN: [&str; 8] = [
    "runtime.goexit",
    "runtime.main",
    "main.main",
    "main._Cfunc_c_outer",
    "runtime.cgocall",
    "runtime.asmcgocall",
    "_cgo_Cfunc_c_outer",
    "c_outer",
];

#[test]
fn c_called_by_go_has_its_callers() {
    assert_chain(&stacks("c", 300), "c_burn", &[&C_CHAIN[..], &["c_burn"]].concat());
}

#[test]
fn go_called_by_c_called_by_go_has_all_its_callers() {
    // The second cgocallbackg is the function, the first its wrapper between calling conventions.
    let back = ["callback", "crosscall2", "runtime.cgocallback", "runtime.cgocallbackg", "runtime.cgocallbackg"];
    let on = ["runtime.cgocallbackg1", "_cgoexp_callback", "main.burn"];
    assert_chain(&stacks("callback", 300), "main.burn", &[&C_CHAIN[..], &back, &on].concat());
}

#[test]
fn the_runtimes_work_on_its_own_stack_has_its_goroutine() {
    for (mode, switch, caller) in [("grow", "runtime.newstack", "main.grow"), ("collect", "runtime.systemstack", "")] {
        let stacks = stacks(mode, 400);
        let complete = complete(&stacks);
        let on: Vec<_> = complete.iter().filter(|stack| stack.iter().any(|name| name == switch)).collect();
        assert!(on.len() > 20, "{mode}: {} of {}", on.len(), complete.len());
        let with = on.iter().filter(|stack| {
            stack[0] == "runtime.goexit" && (caller.is_empty() || stack.iter().any(|name| name == caller))
        });
        let with = with.count();
        assert!(with * 100 >= on.len() * 95, "{mode}: {with} of {}: {:?}", on.len(), on[0]);
    }
}

#[test]
fn the_clock_is_read_by_its_caller() {
    let chain = ["runtime.goexit", "runtime.main", "main.main", "time.Now", "time.runtimeNow", "time.now"];
    assert_chain(&stacks("clock", 300), "time.now", &chain);
}
