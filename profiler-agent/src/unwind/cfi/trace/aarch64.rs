//! Instructions of crtbegin.o and crti.o. Format: Arm's Architecture Reference Manual for A-profile, chapter C4.

use super::Effect;
use profiler_common::unwind::rule::{Rule, cfa, fp, ra};

/// `sp` or `xzr`
const ZERO: u32 = 31;

/// See [`super::Instructions`].
pub(super) fn decode(code: &[u8], rule: Rule) -> Option<(usize, Effect)> {
    let code = u32::from_le_bytes(*code.first_chunk()?);
    let effect = stack(code, rule).or_else(|| control(code, rule));
    Some((4, effect.or_else(|| is_plain(code).then_some(Effect::Next(rule)))?))
}

/// What moves the stack pointer or changes the frame pointer. The CFA stays relative to `sp`, as gcc has it.
fn stack(code: u32, rule: Rule) -> Option<Effect> {
    let bytes = 8 * bits(code, 15, 7);
    let is_saved = rule.fp == fp::AT_CFA;
    let rule = match code {
        // stp x29, x30, [sp, #-bytes]!
        _ if code & 0xffc0_7fff == 0xa980_7bfd && bytes <= -16 && !is_saved => {
            Rule { cfa: cfa::SP, cfa_offset: -bytes, fp: fp::AT_CFA, fp_offset: bytes, ra: ra::ABOVE_FP, ..Rule::NONE }
        }
        // ldp x29, x30, [sp], #bytes
        _ if code & 0xffc0_7fff == 0xa8c0_7bfd && is_saved && bytes == rule.cfa_offset => {
            Rule { cfa: cfa::SP, ra: ra::LINK, ..Rule::NONE }
        }
        // mov x29, sp
        0x9100_03fd if is_saved => rule,
        // str, ldr x19, [sp, #16]
        0xf900_0bf3 | 0xf940_0bf3 if rule.cfa_offset >= 24 => rule,
        _ => return None,
    };
    Some(Effect::Next(rule))
}

fn control(code: u32, rule: Rule) -> Option<Effect> {
    Some(match code {
        // b.condition; cbz, cbnz
        _ if code & 0xff00_0010 == 0x5400_0000 || code & 0x7e00_0000 == 0x3400_0000 => {
            Effect::Branch(4 * i64::from(bits(code, 5, 19)))
        }
        // bl, blr: the link register is lost
        _ if code & 0xfc00_0000 == 0x9400_0000 && rule.ra != ra::LINK => {
            Effect::Call(Some(4 * i64::from(bits(code, 0, 26))))
        }
        _ if code & 0xffff_fc1f == 0xd63f_0000 && rule.ra != ra::LINK => Effect::Call(None),
        _ if code & 0xfc00_0000 == 0x1400_0000 => Effect::Leave(Some(4 * i64::from(bits(code, 0, 26)))),
        // br; ret, retaa
        _ if code & 0xffff_fc1f == 0xd61f_0000 => Effect::Leave(None),
        0xd65f_03c0 | 0xd65f_0bff => Effect::Leave(None),
        _ => return None,
    })
}

/// Whether an instruction writes neither `sp` nor `x29` nor `x30`, and nothing on the stack.
fn is_plain(code: u32) -> bool {
    let (written, base) = (code & 31, code >> 5 & 31);
    match code {
        // Hints: nop, bti, and those that sign the link register, which a step strips.
        _ if code & 0xffff_f01f == 0xd503_201f => true,
        // adr, adrp
        _ if code & 0x1f00_0000 == 0x1000_0000 => is_free(written),
        // ldr, ldrb [register, #number]
        _ if matches!(code & 0xffc0_0000, 0xf940_0000 | 0x3940_0000) => is_free(written) && is_free(base),
        // strb [register, #number]
        _ if code & 0xffc0_0000 == 0x3900_0000 => is_free(base),
        // add #number
        _ if code & 0xff80_0000 == 0x9100_0000 => is_free(written),
        // add, sub register
        _ if matches!(code & 0xff20_0000, 0x8b00_0000 | 0xcb00_0000) => is_free(written),
        // cmp register
        _ if code & 0xff20_001f == 0xeb00_001f => true,
        // mov register; lsr, asr #number; mov #number
        _ if code & 0xffe0_ffe0 == 0xaa00_03e0 || matches!(code & 0xffc0_fc00, 0xd340_fc00 | 0x9340_fc00) => {
            is_free(written)
        }
        _ if code & 0x7f80_0000 == 0x5280_0000 => is_free(written),
        _ => false,
    }
}

fn is_free(register: u32) -> bool {
    !matches!(register, 29 | 30 | ZERO)
}

/// A signed number of so many bits.
fn bits(code: u32, shift: u32, bits: u32) -> i32 {
    ((code >> shift) << (32 - bits)).cast_signed() >> (32 - bits)
}
