//! Frames whose CFA is in a register that a called function saves.

use super::elf::{self, Elf, TEXT, eh_frame};
use super::{ADVANCE_4, CALLED, DEF_CFA, DEF_CFA_OFFSET, offset, restore};
use profiler_common::unwind::rule::{Rule, cfa};

const RBX: u8 = 3;
const R12: u8 = 12;
/// Distance of the called function.
const CALLEE: u64 = 0x40;

/// A function that keeps its CFA in %rbx, or %r12, from its fifth byte on, calls at 0x10, and has another `e8` at 0x20.
fn table(register: u8, callee: &[u8], callee_rows: &[u8]) -> [Rule; 6] {
    let mut text = vec![0x90; CALLEE as usize];
    text[0x10..0x15].copy_from_slice(&[0xe8, 0x2b, 0, 0, 0]);
    text[0x20..0x25].copy_from_slice(&[0xe8, 0x1c, 0, 0, 0]);
    text.extend(callee);
    text.resize(0x80, 0xcc);
    // A function to jump to, and a part of the called one.
    text.extend([0x90; 0x10]);
    text.extend([0xe9, 0xb0, 0xff, 0xff, 0xff]);
    text.resize(0x100, 0xcc);
    let caller = [&[ADVANCE_4, DEF_CFA, register, 32], &[0x40 | 0x2c, DEF_CFA, 7, 8][..]].concat();
    let functions: [elf::Function<'_>; 4] = [
        (TEXT, CALLEE as u32, &caller),
        (TEXT + CALLEE, callee.len() as u32, callee_rows),
        (TEXT + 0x80, 0x10, &[]),
        (TEXT + 0x90, 5, &[DEF_CFA_OFFSET, 24, offset(RBX), 3]),
    ];
    let frames = eh_frame(&elf::X86_64, &functions);
    let table = Elf { eh_frame: Some(frames), text, ..Elf::default() }.table().unwrap();
    [0, 0x13, 0x14, 0x15, 0x24, 0x30].map(|distance| table.rule(TEXT + distance))
}

fn at(slot: u8) -> Rule {
    Rule { cfa: cfa::REGISTER, register: slot, cfa_offset: 32, ..Rule::NONE }
}

/// `push %r12; xor %r9d,%r9d; push %rbx; nop; … ; pop %rbx; pop %r12; ret` around some code.
fn callee(middle: &[u8]) -> Vec<u8> {
    [&[0x41, 0x54, 0x45, 0x31, 0xc9, 0x53, 0x90, 0x90], middle, &[0x5b, 0x41, 0x5c, 0xc3]].concat()
}

const ROWS: [u8; 12] = [0x42, DEF_CFA_OFFSET, 16, offset(R12), 2, ADVANCE_4, DEF_CFA_OFFSET, 24, offset(RBX), 3, 0, 0];

#[test]
fn a_call_has_a_row_at_its_last_byte() {
    let saved = |place| Rule { cfa: cfa::SP_DEREF, cfa_offset: place, extra: 32, ..Rule::NONE };
    for (register, slot, place) in [(RBX, 5, -24), (R12, 3, -16)] {
        // call *%rax; jmp to itself and within, whose last byte looks like the first of `jmp *%rax`.
        let callee = callee(&[0xff, 0xd0, 0x74, 0x00, 0xe9, 0xff, 0xff, 0xff, 0xff, 0xe0]);
        let rules = table(register, &callee, &ROWS);
        assert_eq!(rules, [CALLED, at(slot), saved(place), at(slot), at(slot), CALLED]);
    }
}

#[test]
fn a_part_that_lies_elsewhere_belongs_to_the_function() {
    let saved = Rule { cfa: cfa::SP_DEREF, cfa_offset: -24, extra: 32, ..Rule::NONE };
    // jne to the part, which jumps back into the function.
    let callee = callee(&[0x0f, 0x85, 0x42, 0, 0, 0]);
    assert_eq!(table(RBX, &callee, &ROWS)[2], saved);
    assert_eq!(table(R12, &callee, &ROWS)[2], at(3), "it is not saved there at the part's start");
}

#[test]
fn a_register_that_may_not_be_where_it_was_saved_has_no_row() {
    let cases: [(&[u8], &[u8]); 9] = [
        // Never saved; at two places; in another register; nonsense; farther than what stays unchanged.
        (&callee(&[]), &[]),
        (&callee(&[]), &[0x42, offset(RBX), 2, 0x42, offset(RBX), 3]),
        (&callee(&[]), &[0x42, 0x09, RBX, 9]),
        (&callee(&[]), &[0x42, offset(RBX), 3, 0x3f]),
        (&callee(&[]), &[0x42, offset(RBX), 17]),
        // Calls before it saves, and after it has restored.
        (&[&[0xff, 0xd0][..], &callee(&[])].concat(), &[0x48, offset(RBX), 3]),
        (&[&callee(&[])[..], &[0xe8, 0, 0, 0, 0]].concat(), &[0x46, offset(RBX), 3, 0x43, restore(RBX)]),
        // Goes on in another function, or anywhere.
        (&callee(&[0xe9, 0x33, 0, 0, 0]), &ROWS),
        (&callee(&[0xff, 0xe0]), &ROWS),
    ];
    for (callee, rows) in cases {
        assert_eq!(table(RBX, callee, rows)[2], at(5), "{callee:x?} {rows:x?}");
    }
    let near = callee(&[0x90; 12]);
    assert_ne!(table(RBX, &near, &ROWS)[2], at(5));
    assert_eq!(table(RBX, &[&near[..], &[0x74, 0x26]].concat(), &ROWS)[2], at(5), "a short jump to a function");
}

#[test]
fn other_registers_have_no_rows_of_calls() {
    // Functions do not keep %rax; the call's distance is right all the same.
    let rules = table(0, &callee(&[]), &[0x48, offset(0), 3]);
    assert_eq!(rules, [CALLED, at(10), at(10), at(10), at(10), CALLED]);
}
