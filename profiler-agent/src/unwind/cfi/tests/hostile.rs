//! Garbage: whatever the bytes are, the answer comes, and it is no larger than they are.

use super::super::{NoTable, build};
use super::elf::{CODE, Cie, Elf, X86_64, eh_frame, entry, file};
use super::{ADVANCE_4, CALLED, DEF_CFA_EXPRESSION, DEF_CFA_OFFSET, REMEMBER, RESTORE};
use profiler_common::unwind::rule::Rule;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

fn valid() -> Elf {
    let functions = (0..50_u64).map(|index| (CODE + index * 64, 60, &[ADVANCE_4, DEF_CFA_OFFSET, 48][..]));
    Elf { eh_frame: Some(eh_frame(&X86_64, &functions.collect::<Vec<_>>())), ..Elf::default() }
}

#[test]
fn every_truncation_is_refused_or_read_up_to_the_cut() {
    let whole = valid().bytes();
    for length in (0..whole.len()).step_by(7) {
        let _ = build(&file(&whole[..length]));
    }
    let mut elf = valid();
    let frames = elf.eh_frame.clone().unwrap();
    for length in (20..frames.len()).step_by(13) {
        elf.eh_frame = Some(frames[..length].to_vec());
        let expected = if length < 44 { Rule::NONE } else { CALLED };
        assert_eq!(elf.table().map_or(Rule::NONE, |table| table.rule(CODE)), expected, "{length}");
    }
}

#[test]
fn flipped_bytes_do_no_harm() {
    let whole = valid().bytes();
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..1000 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        if let Ok(table) = build(&file(&bytes)) {
            assert!(table.bytes() < 100 * bytes.len());
        }
    }
}

#[test]
fn random_instructions_do_no_harm() {
    let mut random = StdRng::seed_from_u64(11);
    for _ in 0..1000 {
        let mut instructions = vec![0; random.random_range(0..200)];
        random.fill(&mut instructions[..]);
        let frames = eh_frame(&X86_64, &[(CODE, 4096, &instructions)]);
        let table = Elf { eh_frame: Some(frames), ..Elf::default() }.table().unwrap();
        assert!(table.rows() <= 201);
        assert_eq!(table.rule(CODE + 4096), Rule::NONE);
    }
}

#[test]
fn a_common_entry_that_everybody_reads_is_read_once() {
    // A megabyte of instructions in common, and a hundred thousand functions.
    let instructions: &'static [u8] = vec![0; 1 << 20].leak();
    let cie = Cie { instructions, ..X86_64 };
    let functions: Vec<_> = (0..100_000_u64).map(|index| (CODE + index * 4, 4, &[][..])).collect();
    let table = Elf { eh_frame: Some(eh_frame(&cie, &functions)), ..Elf::default() }.table().unwrap();
    assert_eq!(table.rule(CODE), Rule::UNSUPPORTED);
    // One row for each page, and the end.
    assert_eq!(table.rows(), 8);
}

#[test]
fn common_entries_that_are_forgotten_and_read_again_end_in_a_refusal() {
    let common = eh_frame(&Cie { instructions: &[0; 600], ..X86_64 }, &[]);
    let common = &common[..common.len() - 4];
    let mut frames = common.repeat(17_000);
    for _ in 0..6 {
        for place in (0..17_000).map(|index| index * common.len()) {
            let identity = (frames.len() + 4 - place) as u32;
            frames.extend(entry(&identity.to_le_bytes(), &[0, 0, 0, 0, 1, 0, 0, 0, 0]));
        }
    }
    assert_eq!(Elf { eh_frame: Some(frames), ..Elf::default() }.table(), Err(NoTable::TooLarge));
}

#[test]
fn lengths_and_counts_beyond_the_file_are_refused() {
    let mut elf = valid();
    let frames = elf.eh_frame.as_mut().unwrap();
    let second = 4 + u32::from_le_bytes(frames[..4].try_into().unwrap()) as usize;
    frames[second..second + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    assert_eq!(elf.table(), Err(NoTable::NoCfi));
    let whole = valid().bytes();
    // Program headers, section headers, and the size of .eh_frame in its section header.
    let sections_at = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
    for (at, reason) in [(56, NoTable::TooLarge), (sections_at + 2 * 64 + 32, NoTable::Malformed)] {
        let mut bytes = whole.clone();
        bytes[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(build(&file(&bytes)), Err(reason));
    }
    let mut bytes = whole.clone();
    let size = sections_at + 2 * 64 + 32;
    bytes[size..size + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(build(&file(&bytes)), Err(NoTable::TooLarge));
    // Without readable section headers the program headers are enough.
    let mut bytes = whole;
    bytes[60..62].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(build(&file(&bytes)).unwrap().rule(CODE), CALLED);
}

#[test]
fn a_sparse_file_costs_nothing() {
    let mut bytes = valid().bytes();
    let sections_at = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    let section = sections_at + 2 * 64;
    let at = bytes.len() as u64;
    bytes[section + 24..section + 32].copy_from_slice(&at.to_le_bytes());
    bytes[section + 32..section + 40].copy_from_slice(&(200_u64 << 20).to_le_bytes());
    let file = file(&bytes);
    file.set_len(1 << 40).unwrap();
    assert_eq!(build(&file), Err(NoTable::NoCfi));
}

#[test]
fn remembering_without_end_and_expressions_without_end_are_nonsense() {
    let remembered = [vec![REMEMBER; 1000], vec![RESTORE; 1000]].concat();
    let expression = [vec![DEF_CFA_EXPRESSION, 0xe8, 0x07], vec![0x96; 1000]].concat();
    for instructions in [remembered, expression] {
        let frames = eh_frame(&X86_64, &[(CODE, 64, &instructions)]);
        let table = Elf { eh_frame: Some(frames), ..Elf::default() }.table().unwrap();
        assert_eq!(table.rule(CODE), Rule::UNSUPPORTED);
    }
    let nested = [vec![REMEMBER; 60], vec![RESTORE; 60]].concat();
    let frames = eh_frame(&X86_64, &[(CODE, 64, &nested)]);
    assert_eq!(Elf { eh_frame: Some(frames), ..Elf::default() }.table().unwrap().rule(CODE), CALLED);
}
