//! Rows of start-up code, which has no call frame information, against an independent reader: what the instructions
//! that `objdump` prints of it come to, in programs of several compilers, linkers and C libraries.

use profiler_agent::unwind::{UnwindTable, cfi};
use profiler_common::unwind::rule::{Rule, cfa, fp};
use profiler_tests::builds::compile;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const BUILDS: [&str; 9] = [
    "gcc",
    "gcc -no-pie -fcf-protection=none",
    "gcc -static",
    "gcc -static-pie",
    "musl-gcc",
    "musl-gcc -static",
    "clang",
    "clang -fuse-ld=lld",
    "clang -fuse-ld=lld -Wl,--pack-dyn-relocs=relr",
];
const FUNCTIONS: [&str; 6] =
    ["deregister_tm_clones", "register_tm_clones", "__do_global_dtors_aux", "frame_dummy", "_init", "_fini"];

const CALLED: Rule = Rule { cfa: cfa::SP, cfa_offset: 8, ..Rule::NONE };
const GROWN: Rule = Rule { cfa_offset: 16, ..CALLED };
const PUSHED: Rule = Rule { fp: fp::AT_CFA, fp_offset: -16, ..GROWN };

#[test]
fn each_instruction_of_start_up_code_has_its_row() {
    let folder = tempfile::tempdir().unwrap();
    for (index, build) in BUILDS.iter().enumerate() {
        let program = program(folder.path(), index);
        let counts = FUNCTIONS.map(|function| compare(&program, function, &table(&program)));
        println!("{build}: {counts:?} instructions");
        assert!(counts.iter().all(|count| *count > 0) && counts[2] >= 10, "{build}: {counts:?}");
    }
}

#[test]
fn a_program_without_section_headers_has_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    // Static programs and those of musl have no header of .eh_frame beside it.
    let has_header = |build: &str| !build.contains("-static") && !build.contains("musl");
    for (index, build) in BUILDS.iter().enumerate().filter(|(_, build)| has_header(build)) {
        let program = program(folder.path(), index);
        let mut bytes = std::fs::read(&program).unwrap();
        // e_shoff; e_shnum and e_shstrndx
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        let bare = folder.path().join("bare");
        std::fs::write(&bare, bytes).unwrap();
        let counts = FUNCTIONS.map(|function| compare(&program, function, &table(&bare)));
        assert!(counts.iter().all(|count| *count > 0), "{build}: {counts:?}");
    }
}

fn program(folder: &Path, index: usize) -> PathBuf {
    compile(folder, &format!("program{index}"), &format!("{} -O2", BUILDS[index]), &["short.c", "leaf.c"])
}

fn table(program: &Path) -> UnwindTable {
    cfi::build(&File::open(program).unwrap()).unwrap()
}

/// Instructions of a function, each of which has the rule that those before it come to.
fn compare(program: &Path, function: &str, table: &UnwindTable) -> usize {
    let mut objdump = Command::new("objdump");
    let output =
        objdump.args(["--no-show-raw-insn", &format!("--disassemble={function}")]).arg(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut rule, mut count) = (CALLED, 0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let Some((address, instruction)) = line.split_once(":\t") else { continue };
        let address = u64::from_str_radix(address.trim(), 16).unwrap();
        let words: Vec<&str> = instruction.split_whitespace().collect();
        if words.iter().any(|word| word.starts_with("nop")) || matches!(words[0], "xchg" | "int3") {
            // Between functions, and behind jumps.
            continue;
        }
        assert_eq!(table.rule(address), rule, "{function} at {address:#x} of {}", program.display());
        count += 1;
        rule = match words[..] {
            ["push", "%rbp"] => PUSHED,
            ["mov", "%rsp,%rbp"] => Rule { cfa: cfa::FP, ..PUSHED },
            ["push", "%rax"] | ["sub", "$0x8,%rsp"] => GROWN,
            ["pop", _] | ["add", "$0x8,%rsp"] => CALLED,
            // What follows is jumped to from where nothing was pushed.
            ["ret" | "jmp", ..] => CALLED,
            _ => rule,
        };
    }
    count
}
