//! Instructions of crtbegin.o and crti.o. Format: Intel's manual, volume 2.

use super::Effect;
use profiler_common::unwind::rule::{Rule, cfa, fp};

/// See [`super::Instructions`].
pub(super) fn decode(code: &[u8], rule: Rule) -> Option<(usize, Effect)> {
    stack(code, rule).or_else(|| control(code)).or_else(|| Some((plain(code)?, Effect::Next(rule))))
}

/// What moves the stack pointer or changes the frame pointer.
fn stack(code: &[u8], rule: Rule) -> Option<(usize, Effect)> {
    let (bytes, rule) = match *code {
        // push %rbp; mov %rsp,%rbp; pop %rbp
        [0x55, ..] => (1, push(rule)?),
        [0x48, 0x89, 0xe5, ..] if rule.cfa == cfa::SP && is_pushed(rule) => (3, Rule { cfa: cfa::FP, ..rule }),
        [0x5d, ..] if is_pushed(rule) => (1, pop(rule)),
        // push %rax; pop %rax, pop %rcx; sub, add $bytes,%rsp
        [0x50, ..] => (1, grow(rule, 8)?),
        [0x58 | 0x59, ..] => (1, grow(rule, -8)?),
        [0x48, 0x83, 0xec, bytes @ 8..=0x78, ..] => (4, grow(rule, i32::from(bytes))?),
        [0x48, 0x83, 0xc4, bytes @ 8..=0x78, ..] => (4, grow(rule, -i32::from(bytes))?),
        _ => return None,
    };
    Some((bytes, Effect::Next(rule)))
}

fn push(rule: Rule) -> Option<Rule> {
    let pushed = grow(rule, 8).filter(|_| rule.fp == fp::SAME)?;
    Some(Rule { fp: fp::AT_CFA, fp_offset: -pushed.cfa_offset, ..pushed })
}

/// Whether the stack pointer is where the frame pointer was pushed to.
fn is_pushed(rule: Rule) -> bool {
    rule.fp == fp::AT_CFA && rule.cfa_offset == -rule.fp_offset
}

fn pop(rule: Rule) -> Rule {
    Rule { cfa: cfa::SP, cfa_offset: rule.cfa_offset - 8, ..Rule::NONE }
}

/// Never beyond the return address, nor beyond the saved frame pointer.
fn grow(rule: Rule, bytes: i32) -> Option<Rule> {
    let cfa_offset = rule.cfa_offset.checked_add(bytes)?;
    let fits = rule.cfa == cfa::SP && cfa_offset >= 8.max(-rule.fp_offset) && cfa_offset % 8 == 0;
    fits.then_some(Rule { cfa_offset, ..rule })
}

fn control(code: &[u8]) -> Option<(usize, Effect)> {
    let near = |bytes: usize, distance: u8| bytes as i64 + i64::from(distance.cast_signed());
    let far = |bytes: usize| Some(bytes as i64 + i64::from(i32::from_le_bytes(*code.get(bytes - 4..)?.first_chunk()?)));
    Some(match *code {
        // je, jne, jbe, ja
        [0x74..=0x77, distance, ..] => (2, Effect::Branch(near(2, distance))),
        [0xe8, ..] => (5, Effect::Call(Some(far(5)?))),
        // A call through memory that the linker made direct.
        [0x67, 0xe8, ..] => (6, Effect::Call(Some(far(6)?))),
        // call *distance(%rip); call *%rax
        [0xff, 0x15, _, _, _, _, ..] => (6, Effect::Call(None)),
        [0xff, 0xd0, ..] => (2, Effect::Call(None)),
        [0xe9, ..] => (5, Effect::Leave(Some(far(5)?))),
        [0xeb, distance, ..] => (2, Effect::Leave(Some(near(2, distance)))),
        // jmp *%rax; ret; repz ret
        [0xff, 0xe0, ..] | [0xf3, 0xc3, ..] => (2, Effect::Leave(None)),
        [0xc3, ..] => (1, Effect::Leave(None)),
        _ => return None,
    })
}

/// Bytes of an instruction that writes neither %rsp nor %rbp, and nothing on the stack.
fn plain(code: &[u8]) -> Option<usize> {
    let bytes = match *code {
        [0x90, ..] => 1,
        [0x66, 0x90, ..] => 2,
        // endbr64
        [0xf3, 0x0f, 0x1e, 0xfa, ..] => 4,
        // cmpb, movb, cmpq $number,distance(%rip)
        [0x80, 0x3d, ..] | [0xc6, 0x05, ..] => 7,
        [0x48, 0x83, 0x3d, ..] => 8,
        // cmpq $number,(%rdi)
        [0x48, 0x83, 0x3f, ..] => 4,
        // mov, lea distance(%rip),register
        [0x48, 0x8b | 0x8d, operands, ..] if operands & 0xc7 == 5 && is_free(operands >> 3) => 7,
        // add, sub, cmp, test, mov register,register; shifts by one
        [0x48, 0x01 | 0x29 | 0x39 | 0x85 | 0x89 | 0xd1, operands, ..] if is_free_register(operands) => 3,
        // xor register,register
        [0x31, operands, ..] if is_free_register(operands) => 2,
        // shifts; add, sub, cmp $number,register
        [0x48, 0xc1 | 0x83, operands, ..] if is_free_register(operands) => 4,
        [0x48, 0x81, operands, ..] if is_free_register(operands) => 7,
        // mov $number,register
        [0x48, 0xc7, operands @ 0xc0..=0xc7, ..] if is_free(operands) => 7,
        // add, sub, cmp $number,%rax
        [0x48, 0x05 | 0x2d | 0x3d, ..] => 6,
        [opcode @ 0xb8..=0xbf, ..] if is_free(opcode) => 5,
        _ => return None,
    };
    (code.len() >= bytes).then_some(bytes)
}

/// Whether the operand that is written is a register, and neither %rsp nor %rbp.
fn is_free_register(operands: u8) -> bool {
    operands >> 6 == 3 && is_free(operands)
}

fn is_free(register: u8) -> bool {
    !matches!(register & 7, 4 | 5)
}
