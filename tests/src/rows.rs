//! An executable of millions of unwind rows, generated: 100,000 functions in assembly, each a link of a chain and the
//! owner of rows that are never reached.

use crate::workload::{run, source};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Functions called `big_000000` and so on.
pub const FUNCTIONS: usize = 100_000;
/// Rows of each: at its entry, with its frame, without it again, and those of the instructions after its end.
pub const ROWS: usize = 3 + PADDING;
const PADDING: usize = 23;
/// CFA offsets and places of the frame pointer that the rows combine.
const OFFSETS: usize = 500;
const PLACES: usize = 200;
/// Distinct rules: every combination occurs.
pub const RULES: usize = OFFSETS * PLACES;

const _: () = assert!(FUNCTIONS * ROWS >= 2_500_000 && RULES >= 100_000);
const _: () = assert!(FUNCTIONS * PADDING >= RULES);

/// Compiles big.c with the functions, in two halves at a time; returns the program.
#[must_use]
pub fn compile(folder: &Path, flags: &[&str]) -> PathBuf {
    let half = |part: usize| -> PathBuf {
        let (text, object) = (folder.join(format!("big{part}.s")), folder.join(format!("big{part}.o")));
        let functions = part * FUNCTIONS / 2..(part + 1) * FUNCTIONS / 2;
        let mut file = BufWriter::new(File::create(&text).expect("a file for assembly"));
        write(&mut file, functions).and_then(|()| file.flush()).expect("assembly is written");
        run(Command::new("as").arg(&text).arg("-o").arg(&object));
        std::fs::remove_file(&text).expect("it was there");
        object
    };
    let objects: Vec<PathBuf> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|part| scope.spawn(move || half(part)));
        halves.into_iter().map(|half| half.join().expect("assembled")).collect()
    });
    let program = folder.join("big");
    let sources = ["big.c", "leaf.c"].map(|name| source("chains").join(name));
    run(Command::new("gcc").args(["-O2", "-o"]).arg(&program).args(sources).args(objects).args(flags));
    program
}

/// A function takes a list of functions, calls the first with the rest, and has a frame of its own size.
fn write(out: &mut impl Write, functions: std::ops::Range<usize>) -> std::io::Result<()> {
    writeln!(out, ".text")?;
    for index in functions {
        let bytes = 8 + 16 * (index % 20);
        writeln!(out, ".globl big_{index:06}\n.type big_{index:06}, @function\nbig_{index:06}:\n.cfi_startproc")?;
        writeln!(out, "sub ${bytes}, %rsp\n.cfi_def_cfa_offset {}", bytes + 8)?;
        writeln!(out, "add $8, %rdi\ncall *-8(%rdi)\nadd ${bytes}, %rsp\n.cfi_def_cfa_offset 8\nret")?;
        write_padding(out, index)?;
        writeln!(out, ".cfi_endproc\n.size big_{index:06}, . - big_{index:06}")?;
    }
    writeln!(out, ".section .note.GNU-stack, \"\", @progbits")
}

/// Rows of instructions behind the function's end, one rule after the other.
fn write_padding(out: &mut impl Write, index: usize) -> std::io::Result<()> {
    let mut place = None;
    for rule in (0..PADDING).map(|row| index * PADDING + row) {
        let (offset, wanted) = (24 + 8 * (rule % OFFSETS), 16 + 8 * (rule / OFFSETS % PLACES));
        if place.replace(wanted) != Some(wanted) {
            writeln!(out, ".cfi_offset %rbp, -{wanted}")?;
        }
        writeln!(out, ".cfi_def_cfa_offset {offset}\nnop")?;
    }
    Ok(())
}
