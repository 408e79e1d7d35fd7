//! Hand-assembled call frame information.

mod calls;
mod elf;
mod files;
mod hostile;
mod startup;

use elf::{AARCH64, CODE, Cie, Elf, X86_64, eh_frame};
use profiler_common::unwind::rule::{Rule, cfa, fp, ra};

const ADVANCE_4: u8 = 0x44;
const DEF_CFA: u8 = 0x0c;
const DEF_CFA_REGISTER: u8 = 0x0d;
const DEF_CFA_OFFSET: u8 = 0x0e;
const DEF_CFA_EXPRESSION: u8 = 0x0f;
const EXPRESSION: u8 = 0x10;
const OFFSET_SF: u8 = 0x11;
const VAL_OFFSET: u8 = 0x14;
const VAL_EXPRESSION: u8 = 0x16;
const UNDEFINED: u8 = 0x07;
const SAME_VALUE: u8 = 0x08;
const REGISTER: u8 = 0x09;
const REMEMBER: u8 = 0x0a;
const RESTORE: u8 = 0x0b;
const NEGATE_RA_STATE: u8 = 0x2d;
const fn offset(register: u8) -> u8 {
    0x80 | register
}

const fn restore(register: u8) -> u8 {
    0xc0 | register
}

/// The rule that a function's instructions come to.
fn rule(cie: &Cie, instructions: &[u8]) -> Rule {
    let frames = eh_frame(cie, &[(CODE, 0x40, instructions)]);
    Elf { machine: cie.machine, eh_frame: Some(frames), ..Elf::default() }.table().unwrap().rule(CODE)
}

const CALLED: Rule = Rule { cfa: cfa::SP, cfa_offset: 8, ..Rule::NONE };

#[test]
fn x86_64_rows_are_rules() {
    let framed = Rule { cfa: cfa::FP, cfa_offset: 16, fp: fp::AT_CFA, fp_offset: -16, ..Rule::NONE };
    let cases: &[(&[u8], Rule)] = &[
        (&[], CALLED),
        (&[DEF_CFA_OFFSET, 0x80, 0x02], Rule { cfa_offset: 256, ..CALLED }),
        (&[DEF_CFA_OFFSET, 16, offset(6), 2, DEF_CFA_REGISTER, 6], framed),
        (&[offset(6), 2, restore(6)], CALLED),
        (&[offset(6), 2, SAME_VALUE, 6], CALLED),
        (&[UNDEFINED, 6], Rule { fp: fp::UNDEFINED, ..CALLED }),
        (&[REGISTER, 6, 9], Rule { fp: fp::UNDEFINED, ..CALLED }),
        (&[UNDEFINED, 16], Rule::END),
        (&[UNDEFINED, 16, DEF_CFA_EXPRESSION, 1, 0x96], Rule::END),
        // glibc's vfork: the return address in rdi.
        (&[REGISTER, 16, 5], Rule { ra: ra::REGISTER, extra: 14, ..CALLED }),
        (&[DEF_CFA, 10, 0], Rule { cfa: cfa::REGISTER, register: 7, ..Rule::NONE }),
        (&[DEF_CFA, 0, 8], Rule { cfa: cfa::REGISTER, register: 10, cfa_offset: 8, ..Rule::NONE }),
        (&[DEF_CFA_OFFSET, 48, offset(16), 2], Rule { cfa_offset: 48, ra: ra::AT_CFA, extra: -16, ..CALLED }),
        (
            &[DEF_CFA_OFFSET, 48, offset(6), 4, offset(16), 3],
            Rule { cfa_offset: 48, fp: fp::AT_CFA, fp_offset: -32, ra: ra::ABOVE_FP, ..CALLED },
        ),
        (&[OFFSET_SF, 6, 0x7f], Rule { fp: fp::AT_CFA, fp_offset: 8, ..CALLED }),
    ];
    for (instructions, expected) in cases {
        assert_eq!(rule(&X86_64, instructions), *expected, "{instructions:x?}");
    }
}

#[test]
fn aarch64_rows_are_rules() {
    let leaf = Rule { cfa: cfa::SP, ra: ra::LINK, ..Rule::NONE };
    let pair = Rule { cfa: cfa::SP, cfa_offset: 48, fp: fp::AT_CFA, fp_offset: -48, ra: ra::ABOVE_FP, ..Rule::NONE };
    let cases: &[(&[u8], Rule)] = &[
        (&[], leaf),
        (&[DEF_CFA_OFFSET, 32], Rule { cfa_offset: 32, ..leaf }),
        (&[DEF_CFA_OFFSET, 48, offset(29), 6, offset(30), 5], pair),
        (&[NEGATE_RA_STATE, DEF_CFA_OFFSET, 48, offset(29), 6, offset(30), 5], pair),
        (&[DEF_CFA, 29, 48, offset(29), 6, offset(30), 5], Rule { cfa: cfa::FP, ..pair }),
        // clang's pair at the top of the frame.
        (&[DEF_CFA_OFFSET, 48, offset(29), 2, offset(30), 1], Rule { fp_offset: -16, ra: ra::BELOW_CFA, ..pair }),
        (&[DEF_CFA_OFFSET, 48, offset(30), 6], Rule { cfa_offset: 48, ra: ra::AT_CFA, extra: -48, ..leaf }),
        (&[offset(29), 6, offset(30), 5, restore(29), restore(30)], leaf),
        (&[SAME_VALUE, 30], leaf),
        (&[REGISTER, 30, 30], leaf),
        (&[REGISTER, 30, 9], Rule { ra: ra::REGISTER, extra: 9, ..leaf }),
        (&[UNDEFINED, 30], Rule::END),
        (&[DEF_CFA, 9, 16], Rule { cfa: cfa::REGISTER, register: 9, cfa_offset: 16, ..leaf }),
        // A frame of scalable vectors: sp + 16 + 8 * vg.
        (&[DEF_CFA_EXPRESSION, 8, 0x8f, 16, 0x92, 46, 0, 0x38, 0x1e, 0x22], Rule::UNSUPPORTED),
    ];
    for (instructions, expected) in cases {
        assert_eq!(rule(&AARCH64, instructions), *expected, "{instructions:x?}");
    }
}

#[test]
fn expressions_that_rules_can_say() {
    let deref = Rule { cfa: cfa::SP_DEREF, cfa_offset: 152, extra: 8, ..Rule::NONE };
    let realigned = Rule { cfa: cfa::FP_DEREF, cfa_offset: -8, ..Rule::NONE };
    let plt = Rule { cfa: cfa::PLT, cfa_offset: 88, ..Rule::NONE };
    let cases: &[(&[u8], Rule)] = &[
        // rsp + 8 + ((rip & 15) >= 11) << 3
        (&[DEF_CFA_EXPRESSION, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22], plt),
        (
            &[DEF_CFA_EXPRESSION, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3a, 0x2a, 0x33, 0x24, 0x22],
            Rule { cfa_offset: 80, ..plt },
        ),
        // *(rsp + 152) + 8
        (&[DEF_CFA_EXPRESSION, 6, 0x77, 0x98, 0x01, 0x06, 0x23, 8], deref),
        (&[DEF_CFA_EXPRESSION, 6, 0x77, 0x98, 0x01, 0x06, 0x38, 0x22], deref),
        (&[DEF_CFA_EXPRESSION, 7, 0x77, 0x98, 0x01, 0x06, 0x11, 0x78, 0x1c], deref),
        // gcc's realigned frame: *(rbp - 8), with rbp at *(rbp + 0)
        (&[DEF_CFA_EXPRESSION, 3, 0x76, 0x78, 0x06, EXPRESSION, 6, 2, 0x76, 0], Rule { fp: fp::AT_FP, ..realigned }),
        (
            &[DEF_CFA_EXPRESSION, 3, 0x76, 0x78, 0x06, VAL_EXPRESSION, 6, 3, 0x76, 0, 6],
            Rule { fp: fp::AT_FP, ..realigned },
        ),
        // rsp + 40
        (&[DEF_CFA_EXPRESSION, 2, 0x77, 40], Rule { cfa_offset: 40, ..CALLED }),
        // In terms of a CFA that is rsp + 8: rsp - 8; from the CFA on the stack, `lit16; minus`.
        (&[EXPRESSION, 6, 2, 0x77, 0x78], Rule { fp: fp::AT_CFA, fp_offset: -16, ..CALLED }),
        (&[EXPRESSION, 6, 2, 0x40, 0x1c], Rule { fp: fp::AT_CFA, fp_offset: -16, ..CALLED }),
        (&[EXPRESSION, 16, 2, 0x77, 0x70], Rule { ra: ra::AT_CFA, extra: -24, ..CALLED }),
        (&[VAL_OFFSET, 7, 0], CALLED),
    ];
    for (instructions, expected) in cases {
        assert_eq!(rule(&X86_64, instructions), *expected, "{instructions:x?}");
    }
}

#[test]
fn what_no_rule_can_say_is_unsupported() {
    let cases: &[&[u8]] = &[
        // longjmp: another stack pointer than the CFA.
        &[DEF_CFA, 5, 0, REGISTER, 7, 8],
        &[offset(7), 2],
        // (rip & 31), (rip & 15) << 4, and a stub that is not at rsp + 8.
        &[DEF_CFA_EXPRESSION, 12, 0x77, 8, 0x80, 0, 0x08, 31, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22],
        &[DEF_CFA_EXPRESSION, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x34, 0x24, 0x22],
        &[DEF_CFA_EXPRESSION, 11, 0x77, 16, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22],
        // *rax, **rsp, two registers, an endless branch, an empty stack, a register that is none.
        &[DEF_CFA_EXPRESSION, 3, 0x70, 0, 0x06],
        &[DEF_CFA_EXPRESSION, 4, 0x77, 0, 0x06, 0x06],
        &[DEF_CFA_EXPRESSION, 5, 0x77, 0, 0x79, 0, 0x22],
        &[DEF_CFA_EXPRESSION, 3, 0x2f, 0xfd, 0xff],
        &[DEF_CFA_EXPRESSION, 1, 0x22],
        &[DEF_CFA_EXPRESSION, 0],
        &[DEF_CFA, 77, 8],
        &[REGISTER, 16, 77],
        // Offsets beyond 32 bits.
        &[DEF_CFA_OFFSET, 0x80, 0x80, 0x80, 0x80, 0x10],
        &[offset(16), 0x80, 0x80, 0x80, 0x80, 0x10],
        // The return address and the CFA both want the extra offset.
        &[DEF_CFA_EXPRESSION, 5, 0x77, 0, 0x06, 0x23, 8, offset(16), 2],
        &[VAL_OFFSET, 16, 1],
        &[SAME_VALUE, 16],
    ];
    for instructions in cases {
        assert_eq!(rule(&X86_64, instructions), Rule::UNSUPPORTED, "{instructions:x?}");
    }
}

#[test]
fn a_frame_pointer_out_of_reach_is_lost_and_the_rest_is_not() {
    let lost = Rule { fp: fp::UNDEFINED, ..CALLED };
    let cases: &[&[u8]] = &[
        &[EXPRESSION, 6, 2, 0x70, 0],
        &[VAL_EXPRESSION, 6, 2, 0x77, 0],
        &[VAL_OFFSET, 6, 2],
        &[offset(6), 0x80, 0x80, 0x80, 0x80, 0x10],
    ];
    for instructions in cases {
        assert_eq!(rule(&X86_64, instructions), lost, "{instructions:x?}");
    }
}

#[test]
fn rows_follow_each_other() {
    let instructions = [
        &[ADVANCE_4, DEF_CFA_OFFSET, 16, offset(6), 2, ADVANCE_4, DEF_CFA_REGISTER, 6, REMEMBER][..],
        &[ADVANCE_4, DEF_CFA, 7, 8, restore(6), ADVANCE_4, RESTORE],
    ];
    let frames = eh_frame(&X86_64, &[(CODE, 0x20, &instructions.concat())]);
    let table = Elf { eh_frame: Some(frames), ..Elf::default() }.table().unwrap();
    let pushed = Rule { cfa_offset: 16, fp: fp::AT_CFA, fp_offset: -16, ..CALLED };
    let framed = Rule { cfa: cfa::FP, ..pushed };
    let expected = [
        (0, CALLED),
        (3, CALLED),
        (4, pushed),
        (8, framed),
        (12, CALLED),
        (16, framed),
        (31, framed),
        (32, Rule::NONE),
    ];
    for (offset, rule) in expected {
        assert_eq!(table.rule(CODE + offset), rule, "{offset}");
    }
    assert_eq!(table.rule(CODE - 1), Rule::NONE);
    assert_eq!(table.rows(), 6);
}

#[test]
fn what_follows_nonsense_is_unsupported() {
    // An unknown instruction, nothing to restore, an expression beyond the end, an address that is passed already.
    let cases: [&[u8]; 4] = [&[0x3f], &[RESTORE], &[DEF_CFA_EXPRESSION, 100], &[0x01, 0, 1, 0x80, 0xff]];
    for nonsense in cases {
        let instructions = [&[ADVANCE_4, DEF_CFA_OFFSET, 16, ADVANCE_4], nonsense].concat();
        let frames = eh_frame(&X86_64, &[(CODE, 0x20, &instructions)]);
        let table = Elf { eh_frame: Some(frames), ..Elf::default() }.table().unwrap();
        assert_eq!(table.rule(CODE + 4), Rule { cfa_offset: 16, ..CALLED }, "{nonsense:x?}");
        assert_eq!(table.rule(CODE + 8), Rule::UNSUPPORTED, "{nonsense:x?}");
        assert_eq!(table.rule(CODE + 0x1f), Rule::UNSUPPORTED, "{nonsense:x?}");
        assert_eq!(table.rule(CODE + 0x20), Rule::NONE, "{nonsense:x?}");
    }
}

#[test]
fn a_signal_frame_is_one_whatever_its_rows_say() {
    let cie = Cie { augmentation: "zRS", ..X86_64 };
    assert_eq!(rule(&cie, &[DEF_CFA_EXPRESSION, 2, 0x77, 40, UNDEFINED, 16]), Rule::SIGNAL);
    let cie = Cie { augmentation: "zRS", return_address: 32, ..AARCH64 };
    assert_eq!(rule(&cie, &[DEF_CFA_OFFSET, 32]), Rule::SIGNAL);
}

#[test]
fn a_return_address_in_an_odd_column_needs_a_row_that_says_where() {
    let cie = Cie { return_address: 32, ..AARCH64 };
    assert_eq!(rule(&cie, &[]), Rule::UNSUPPORTED);
    let saved = Rule { cfa: cfa::SP, ra: ra::BELOW_CFA, ..Rule::NONE };
    assert_eq!(rule(&cie, &[OFFSET_SF, 32, 1]), saved);
}
