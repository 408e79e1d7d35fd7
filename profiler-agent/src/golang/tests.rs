//! A small program made by hand, whole and damaged.

use super::{Frames, Overlay, Pclntab, Site, Version, table};
use crate::unwind::UnwindTable;
use profiler_common::unwind::Rule;
use profiler_common::unwind::rule::{cfa, fp};
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;

const TEXT: u64 = 0x40_1000;
const TEXT_BYTES: usize = 0x100;
/// Where the table lies in the file and, plus 0x400000, in memory.
const TABLE: usize = 0x1200;
const MODULE: usize = 0x1800;
const FILE_BYTES: usize = 0x1a00;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_le_bytes()).collect()
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    into.resize(into.len().max(at + bytes.len()), 0);
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Parts of the table: names, units, files, values, functions.
const PARTS: [u64; 5] = [72, 120, 136, 160, 224];

/// `main.work` at 0..0x80 with `main.inlined` in 0x10..0x20, then `runtime.goexit`, to 0x100.
fn pclntab() -> Vec<u8> {
    let mut table = words(&[0xffff_fff1]);
    table.extend([0, 0, 1, 8]);
    table.extend(longs(&[2, 1, 0]));
    table.extend(longs(&PARTS));
    put(&mut table, 72, b"\0main.work\0main.inlined\0runtime.goexit\0");
    put(&mut table, 120, &words(&[0, 10]));
    put(&mut table, 136, b"/tmp/w.go\0/tmp/x.go\0");
    // Frame: 0 for 1 byte, 8 for 3, 0x38 for 0x70, 0 to the end.
    put(&mut table, 161, &[2, 1, 16, 3, 96, 0x70, 111, 0x0c, 0]);
    // File 0; lines 10, then 31 where inlined, then 11; calls -1, then 0, then -1.
    put(&mut table, 176, &[2, 0x80, 1, 0]);
    put(&mut table, 184, &[22, 0x10, 42, 0x10, 39, 0x60, 0]);
    put(&mut table, 196, &[0, 0x10, 2, 0x10, 1, 0x60, 0]);
    let functions = PARTS[4] as usize;
    put(&mut table, functions, &words(&[0, 24, 0x80, 96, 0x100]));
    let work = [0, 1, 0, 0, 1, 16, 24, 3, 1, 9, 0x0400_0000, 0, 0, 36, u32::MAX, u32::MAX, u32::MAX, 0];
    put(&mut table, functions + 24, &words(&work));
    // Flags: top of stack, assembly.
    let goexit = [0x80, 24, 0, 0, 1, 16, 24, 0, 0, 40, 0x0000_0500];
    put(&mut table, functions + 96, &words(&goexit));
    table
}

/// An executable of one segment, without sections.
fn program() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    put(&mut file, 16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(&mut file, 32, &longs(&[64]));
    put(&mut file, 52, &[64, 0, 56, 0, 1, 0, 64]);
    put(&mut file, 64, &words(&[1, 7]));
    put(&mut file, 72, &longs(&[0, 0x40_0000, 0x40_0000, FILE_BYTES as u64, FILE_BYTES as u64, 0x1000]));
    put(&mut file, TABLE, &pclntab());
    let mut module = [0_u64; 42];
    module[0] = 0x40_0000 + TABLE as u64;
    module[1] = module[0] + PARTS[0];
    module[22..24].copy_from_slice(&[TEXT, TEXT + TEXT_BYTES as u64]);
    module[40] = 0x40_0000 + 0x1700;
    put(&mut file, MODULE, &longs(&module));
    // One inlined call: name, where, line that it starts at.
    put(&mut file, 0x1700, &words(&[0, 11, 8, 30]));
    file.resize(FILE_BYTES, 0);
    file
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn site(function: &str, line: u32, start_line: u32) -> Site {
    Site { function: function.to_owned(), file: String::from("/tmp/x.go"), line, start_line }
}

#[test]
fn names_addresses_with_their_inlined_calls() {
    let file = file(&program());
    let table = Pclntab::open(&file).unwrap().unwrap();
    assert_eq!((table.version(), table.functions()), (Version::Go120, 2));
    assert_eq!(table.sites(&file, TEXT + 4), [site("main.work", 10, 9)]);
    assert_eq!(table.sites(&file, TEXT + 0x10), [site("main.inlined", 31, 30), site("main.work", 10, 9)]);
    assert_eq!(table.sites(&file, TEXT + 0x20), [site("main.work", 11, 9)]);
    assert_eq!(table.sites(&file, TEXT + 0xff)[0].function, "runtime.goexit");
    assert_eq!(table.sites(&file, TEXT - 1), []);
    assert_eq!(table.sites(&file, TEXT + 0x100), []);
}

#[test]
fn rows_follow_the_sizes_of_frames() {
    let frame = |delta| Rule { cfa: cfa::SP, cfa_offset: delta + 8, fp: fp::AT_CFA, fp_offset: -16, ..Rule::NONE };
    let none = Rule { cfa: cfa::SP, cfa_offset: 8, ..Rule::NONE };
    let file = file(&program());
    let table = Pclntab::open(&file).unwrap().unwrap();
    let rows: Vec<_> = Frames::load(&table, &file).unwrap().rows().collect();
    let expected = [(0, none), (1, frame(8)), (4, frame(0x38)), (0x74, none), (0x80, Rule::END), (0x100, Rule::NONE)];
    assert_eq!(rows, expected.map(|(at, rule)| (TEXT + at, rule)));
}

#[test]
fn rows_of_another_source_stand_around_those_of_go() {
    let file = file(&program());
    let table = Pclntab::open(&file).unwrap().unwrap();
    let frames = Frames::load(&table, &file).unwrap();
    let other = |offset| Rule { cfa: cfa::FP, cfa_offset: offset, ..Rule::NONE };
    let built = UnwindTable::build(|encoder| {
        let mut overlay = Overlay::new(encoder, &frames);
        overlay.push(TEXT - 0x40, other(8));
        overlay.push(TEXT + 0x90, other(16));
        overlay.push(TEXT + 0x140, other(24));
        overlay.push(TEXT + 0x180, Rule::NONE);
        overlay.finish();
        Ok::<(), Infallible>(())
    })
    .unwrap();
    let expected = [(-1, other(8)), (0x80, Rule::END), (0xff, Rule::END), (0x100, other(16)), (0x140, other(24))];
    for (at, rule) in expected {
        assert_eq!(built.rule(TEXT.wrapping_add_signed(at)), rule, "{at:#x}");
    }
    assert_eq!(built.rule(TEXT + 0x180), Rule::NONE);
    assert_eq!(built.rule(TEXT + 5).cfa_offset, 0x40);
}

/// Does with a file all that can be done; whatever comes out.
fn exercise(bytes: &[u8]) {
    let file = file(bytes);
    if let Ok(Some(pclntab)) = Pclntab::open(&file) {
        for address in [0, TEXT, TEXT + 0x10, TEXT + 0x7f, TEXT + 0xff, u64::MAX] {
            assert!(pclntab.sites(&file, address).len() < 200);
        }
    }
    let _ = table(&file);
}

#[test]
fn every_truncation_is_survived() {
    let whole = program();
    (0..whole.len()).step_by(13).for_each(|length| exercise(&whole[..length]));
}

#[test]
fn every_damaged_byte_is_survived() {
    let whole = program();
    let table_end = TABLE + pclntab().len();
    let places = (0..120).chain(TABLE..table_end).chain(0x1700..0x1710).chain(MODULE..MODULE + 336);
    for at in places {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            exercise(&bytes);
        }
    }
}

#[test]
fn inlined_calls_that_go_round_end() {
    let mut bytes = program();
    // The call's place is in the call itself.
    put(&mut bytes, 0x1708, &words(&[0x10]));
    let file = file(&bytes);
    let table = Pclntab::open(&file).unwrap().unwrap();
    assert_eq!(table.sites(&file, TEXT + 0x10).len(), 129);
}

#[test]
fn garbage_is_no_program() {
    let mut state = 1_u64;
    let mut garbage = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for length in [0, 1, 64, 4096, 100_000] {
        let mut bytes: Vec<u8> = (0..length).map(|_| garbage()).collect();
        exercise(&bytes);
        let header = program();
        let end = 120.min(bytes.len());
        bytes[..end].copy_from_slice(&header[..end]);
        exercise(&bytes);
    }
}

#[test]
fn a_table_beyond_the_budget_is_refused() {
    let mut bytes = program();
    // The segment goes on for 1 GiB, and so do the records, which nothing delimits.
    put(&mut bytes, 96, &longs(&[1 << 30]));
    let file = file(&bytes);
    file.set_len(1 << 30).unwrap();
    assert_eq!(table(&file), Err(super::Unusable::TooLarge));
}
