//! Go programs are named and unwound from their own tables: plain, stripped, position-independent, with C, and for the
//! other architecture. The truth is what Go's tools, its debug information and the programs themselves say.

use profiler_agent::golang::{self, Frames, Machine, Pclntab, Site};
use profiler_common::unwind::rule::{cfa, ra};
use profiler_tests::go::{build, debug_rows, functions, lines};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;

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
            let place = place.replace(":-1", ":0");
            assert_eq!(format!("{}:{}", inner.file, inner.line), place, "{name} {address:#x} {function}");
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
    let expected = [("main.inner", 27, 27), ("main.shape.middle", 25, 25), ("main.outer", 23, 23)];
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
        println!("{name}: {same} rows, special: {special:?}");
        assert!(special.contains("runtime.goexit") && special.len() < 40, "{special:?}");
    }
}

#[test]
fn other_files_are_no_go_programs() {
    for path in ["/bin/sh", "/proc/self/exe"] {
        assert!(Pclntab::open(&File::open(path).unwrap()).unwrap().is_none(), "{path}");
    }
    assert!(Machine::X86_64 != Machine::Aarch64);
}
