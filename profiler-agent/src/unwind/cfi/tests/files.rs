//! Sections and functions: where they are found, and which of them count.

use super::super::{NoTable, build};
use super::elf::{AARCH64, CODE, CODE_BYTES, Elf, Function, X86_64, debug_frame, eh_frame, file};
use super::{CALLED, DEF_CFA_OFFSET};
use crate::unwind::UnwindTable;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use profiler_common::unwind::rule::Rule;
use std::fs::File;
use std::io::Write as _;

const COMPRESSED: u64 = 1 << 11;

fn at(cfa_offset: i32) -> Rule {
    Rule { cfa_offset, ..CALLED }
}

fn table(functions: &[Function<'_>]) -> UnwindTable {
    Elf { eh_frame: Some(eh_frame(&X86_64, functions)), ..Elf::default() }.table().unwrap()
}

/// `Elf64_Chdr` and the packed content.
fn compressed(content: &[u8], kind: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    let head = [kind, 0].map(u32::to_le_bytes).concat();
    [head, [content.len() as u64, 8].map(u64::to_le_bytes).concat(), encoder.finish().unwrap()].concat()
}

#[test]
fn a_stripped_file_shows_its_rows_by_its_program_headers() {
    let frames = eh_frame(&X86_64, &[(CODE, 0x40, &[DEF_CFA_OFFSET, 32])]);
    let table = Elf { eh_frame: Some(frames), sections: false, ..Elf::default() }.table().unwrap();
    assert_eq!(table.rule(CODE), at(32));
}

#[test]
fn debug_frame_stands_in_for_eh_frame() {
    for (cie, offset) in [(X86_64, 8), (AARCH64, 0)] {
        let frames = debug_frame(&cie, &[(CODE, 0x40, &[]), (0, 0x40, &[]), (u64::MAX, 0x40, &[])]);
        let elf = Elf { machine: cie.machine, debug_frame: Some((frames, 0)), ..Elf::default() };
        assert_eq!(elf.table().unwrap().rule(CODE).cfa_offset, offset);
    }
}

#[test]
fn a_compressed_debug_frame_is_inflated() {
    let frames = compressed(&debug_frame(&X86_64, &[(CODE, 0x40, &[DEF_CFA_OFFSET, 32])]), 1);
    let elf = Elf { debug_frame: Some((frames.clone(), COMPRESSED)), ..Elf::default() };
    assert_eq!(elf.table().unwrap().rule(CODE), at(32));
    let cut = Elf { debug_frame: Some((frames[..frames.len() - 9].to_vec(), COMPRESSED)), ..elf.clone() };
    assert_eq!(cut.table(), Err(NoTable::Malformed));
    let eh_frame = Some(eh_frame(&X86_64, &[(CODE, 0x40, &[])]));
    assert_eq!(Elf { eh_frame, ..cut }.table().unwrap().rule(CODE), at(8));
}

#[test]
fn a_bomb_in_a_compressed_section_is_refused() {
    let mut bomb = compressed(&[1; 100_000], 1);
    bomb[8..16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert_eq!(Elf { debug_frame: Some((bomb, COMPRESSED)), ..Elf::default() }.table(), Err(NoTable::TooLarge));
    let other = compressed(&[1; 100], 2);
    assert_eq!(Elf { debug_frame: Some((other, COMPRESSED)), ..Elf::default() }.table(), Err(NoTable::NoCfi));
}

#[test]
fn debug_frame_fills_what_eh_frame_lacks() {
    let eh_frame = eh_frame(&X86_64, &[(CODE, 0x40, &[DEF_CFA_OFFSET, 32])]);
    let more = debug_frame(
        &X86_64,
        &[
            (CODE, 0x40, &[DEF_CFA_OFFSET, 48]),
            (CODE + 0x20, 8, &[DEF_CFA_OFFSET, 56]),
            (CODE + 0x80, 0x40, &[DEF_CFA_OFFSET, 64]),
        ],
    );
    let elf = Elf { eh_frame: Some(eh_frame), debug_frame: Some((more, 0)), ..Elf::default() };
    let table = elf.table().unwrap();
    let rules = [0, 0x20, 0x3f, 0x40, 0x80, 0xbf, 0xc0].map(|offset| table.rule(CODE + offset).cfa_offset);
    assert_eq!(rules, [32, 32, 32, 0, 64, 64, 0]);
}

#[test]
fn padding_keeps_the_rule_before_and_larger_gaps_have_none() {
    let functions: [Function<'_>; 3] =
        [(CODE, 0x11, &[]), (CODE + 0x20, 0x10, &[DEF_CFA_OFFSET, 32]), (CODE + 0x40, 0x10, &[])];
    let table = table(&functions);
    let rules = [0x11, 0x1f, 0x20, 0x2f, 0x30, 0x3f, 0x40, 0x50].map(|offset| table.rule(CODE + offset).cfa_offset);
    assert_eq!(rules, [8, 8, 32, 32, 0, 0, 8, 0]);
}

#[test]
fn overlapping_functions_are_cut_where_the_next_begins() {
    let table = table(&[
        (CODE + 0x100, 0x100, &[DEF_CFA_OFFSET, 48]),
        (CODE, u32::MAX >> 1, &[DEF_CFA_OFFSET, 32]),
        (CODE + 0x100, 0x10, &[DEF_CFA_OFFSET, 56]),
        (CODE + 0x100, 0x10, &[DEF_CFA_OFFSET, 64]),
    ]);
    let rules = [0, 0xff, 0x100, 0x10f, 0x110].map(|offset| table.rule(CODE + offset).cfa_offset);
    assert_eq!(rules, [32, 32, 56, 56, 0]);
}

#[test]
fn functions_outside_the_code_are_left_out() {
    let outside: [Function<'_>; 3] = [(CODE - 0x100, 0x40, &[]), (CODE + CODE_BYTES, 0x40, &[]), (CODE, 0, &[])];
    let frames = eh_frame(&X86_64, &outside);
    assert_eq!(Elf { eh_frame: Some(frames), ..Elf::default() }.table(), Err(NoTable::NoCfi));
    let table = table(&[(CODE + CODE_BYTES - 8, 0x4000_0000, &[])]);
    assert_eq!(table.rule(CODE + CODE_BYTES - 1), at(8));
    assert_eq!(table.rule(CODE + CODE_BYTES), Rule::NONE);
}

#[test]
fn other_machines_and_other_files_have_no_table() {
    let elf = Elf { eh_frame: Some(eh_frame(&X86_64, &[(CODE, 0x40, &[])])), ..Elf::default() };
    assert_eq!(Elf { machine: 243, ..elf.clone() }.table(), Err(NoTable::UnsupportedMachine));
    assert_eq!(Elf::default().table(), Err(NoTable::NoCfi));
    let mut bytes = elf.bytes();
    bytes[4] = 1;
    assert_eq!(build(&file(&bytes)), Err(NoTable::UnsupportedMachine));
    assert_eq!(build(&file(b"#!/bin/sh\n")), Err(NoTable::Malformed));
    assert_eq!(build(&File::open("/proc/self").unwrap()), Err(NoTable::ReadError));
}

#[test]
fn the_test_program_itself_has_rows() {
    let table = build(&File::open("/proc/self/exe").unwrap()).unwrap();
    assert!(table.rows() > 10_000, "{} rows", table.rows());
}
