//! Rows for code without entries: assembly that people wrote without call frame information, as in codecs and in the C
//! runtime's `_init`.
//!
//! Instructions are followed from address to address: what they push and reserve is how far the CFA is above the stack
//! pointer. Code that sets up frame pointers gets no rows, as those are good enough.

mod kept;
mod state;
mod stretch;

use super::PADDING_BYTES;
use super::entries::Entry;
use super::layout::Layout;
use super::machine::Machine;
use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory};
use kept::Needed;
use profiler_common::unwind::rule::Rule;
use state::Base;
use std::ops::Range;
use stretch::Stretch;

/// Code followed in one file: five times that of the largest codec.
const MAX_CODE_BYTES: u64 = 8 << 20;
/// Rows of one file.
const MAX_ROWS: usize = 1 << 18;
/// `push rbp; mov rbp, rsp`
const FRAME_POINTER: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

/// A row of the table.
pub(super) type Row = (u64, Rule);

/// Rows for what lies between entries, which are in order of address. Code that cannot be read has none.
pub(super) fn rows(layout: &Layout<'_>, entries: &[Entry]) -> Vec<Row> {
    let (mut rows, mut needed) = (Vec::new(), Needed::default());
    let mut budget = MAX_CODE_BYTES;
    if !std::ptr::eq(layout.machine, Machine::X86_64) {
        return rows;
    }
    for gap in layout.code.iter().flat_map(|code| gaps(code, entries)) {
        let Some(left) = budget.checked_sub(gap.end - gap.start) else { continue };
        budget = left;
        if let Some(bytes) = layout.image.code(gap.start, gap.end - gap.start) {
            follow(gap.start, &bytes, &mut rows, &mut needed);
        }
    }
    rows.sort_by_key(|(address, _)| *address);
    needed.mark(|start| layout.image.code(start, kept::MAX_FUNCTION_BYTES), &mut rows);
    rows
}

/// What no entry covers of a segment.
fn gaps(code: &Range<u64>, entries: &[Entry]) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = code.start;
    for entry in entries {
        if entry.start.min(code.end).saturating_sub(at) >= PADDING_BYTES {
            gaps.push(at..entry.start.min(code.end));
        }
        at = at.max(entry.end());
    }
    if code.end.saturating_sub(at) >= PADDING_BYTES {
        gaps.push(at..code.end);
    }
    gaps
}

/// The rows of one stretch of code, and one that ends them.
fn follow(start: u64, bytes: &[u8], rows: &mut Vec<Row>, needed: &mut Needed) {
    if bytes.windows(FRAME_POINTER.len()).any(|window| window == FRAME_POINTER) {
        return;
    }
    let mut stretch = Stretch::new(rows);
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    let (mut instruction, mut factory) = (Instruction::default(), InstructionInfoFactory::new());
    while decoder.can_decode() && stretch.rows.len() < MAX_ROWS {
        decoder.decode_out(&mut instruction);
        stretch.arrive(&instruction);
        let state = &mut stretch.state;
        if let Base::Register(register, _) = state.base {
            needed.add(&instruction, register);
        }
        if state.copied().is_some_and(|register| kept::writes(&mut factory, &instruction, register)) {
            state.lose_copy();
        }
        state.step(&instruction);
        stretch.leave(&instruction);
    }
    stretch.end();
    rows.push((decoder.ip(), Rule::NONE));
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::unwind::rule::cfa;

    /// The rows of code at 0x1000.
    pub(super) fn followed(bytes: &[u8]) -> Vec<Row> {
        let (mut rows, mut needed) = (Vec::new(), Needed::default());
        follow(0x1000, bytes, &mut rows, &mut needed);
        needed.mark(|start| bytes.get(start.checked_sub(0x1000)? as usize..).map(<[u8]>::to_vec), &mut rows);
        rows
    }

    fn rules(bytes: &[u8]) -> Vec<(u64, u8, i32, i32, i32)> {
        let plain = |(at, rule): &Row| (*at, rule.cfa, rule.cfa_offset, rule.extra, rule.fp_offset);
        followed(bytes).iter().map(plain).collect()
    }

    #[test]
    fn pushes_and_room_are_followed_over_an_early_return() {
        // push rbx; push rbp; sub rsp, 32; test eax, eax; je +7; add rsp, 32; pop rbp; pop rbx; ret; then the rest again
        let end = [0x48, 0x83, 0xc4, 0x20, 0x5d, 0x5b, 0xc3];
        let start = [0x53, 0x55, 0x48, 0x83, 0xec, 0x20, 0x85, 0xc0, 0x74, 0x07];
        let rows = rules(&[&start[..], &end, &end].concat());
        let expected = [
            (0x1000, cfa::SP, 8, 0, 0),
            (0x1001, cfa::SP, 16, 0, 0),
            (0x1002, cfa::SP, 24, 0, -24),
            (0x1006, cfa::SP, 56, 0, -24),
            (0x100e, cfa::SP, 24, 0, -24),
            (0x100f, cfa::SP, 16, 0, 0),
            (0x1010, cfa::SP, 8, 0, 0),
            (0x1011, cfa::SP, 56, 0, -24),
            (0x1015, cfa::SP, 24, 0, -24),
            (0x1016, cfa::SP, 16, 0, 0),
            (0x1017, cfa::SP, 8, 0, 0),
            (0x1018, cfa::NONE, 0, 0, 0),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_comes_after_the_return_and_jumps_back_ends_a_function() {
        // push rbx; test eax, eax; je +2; pop rbx; ret; xor eax, eax; jmp to the pop; then nop; ret
        let bytes = [0x53, 0x85, 0xc0, 0x74, 0x02, 0x5b, 0xc3, 0x31, 0xc0, 0xeb, 0xfa, 0x90, 0xc3];
        let expected = [
            (0x1000, cfa::SP, 8, 0, 0),
            (0x1001, cfa::SP, 16, 0, 0),
            (0x1006, cfa::SP, 8, 0, 0),
            (0x1007, cfa::SP, 16, 0, 0),
            (0x100b, cfa::SP, 8, 0, 0),
            (0x100d, cfa::NONE, 0, 0, 0),
        ];
        assert_eq!(rules(&bytes), expected);
    }

    #[test]
    fn code_behind_a_return_and_padding_is_where_jumps_lead() {
        // push rbx; test eax, eax; je +4; pop rbx; ret; nop; int3; pop rbx; ret
        let expected = [
            (0x1000, cfa::SP, 8, 0, 0),
            (0x1001, cfa::SP, 16, 0, 0),
            (0x1006, cfa::SP, 8, 0, 0),
            (0x1009, cfa::SP, 16, 0, 0),
            (0x100a, cfa::SP, 8, 0, 0),
            (0x100b, cfa::NONE, 0, 0, 0),
        ];
        assert_eq!(rules(&[0x53, 0x85, 0xc0, 0x74, 0x04, 0x5b, 0xc3, 0x90, 0xcc, 0x5b, 0xc3]), expected);
    }

    #[test]
    fn a_jump_to_another_function_or_into_one_with_the_same_stack_ends_one() {
        // push rbx; pop rbx; ret; then push rbx; jmp to the pop; then jmp to the first byte; then nop; ret
        let bytes = [0x53, 0x5b, 0xc3, 0x53, 0xeb, 0xfb, 0xeb, 0xf8, 0x90, 0xc3];
        let expected = [
            (0x1000, cfa::SP, 8, 0, 0),
            (0x1001, cfa::SP, 16, 0, 0),
            (0x1002, cfa::SP, 8, 0, 0),
            (0x1003, cfa::SP, 8, 0, 0),
            (0x1004, cfa::SP, 16, 0, 0),
            (0x1006, cfa::SP, 8, 0, 0),
            (0x1008, cfa::SP, 8, 0, 0),
            (0x100a, cfa::NONE, 0, 0, 0),
        ];
        assert_eq!(rules(&bytes), expected);
        // push rbx; jmp to the push: the stack grows.
        assert_eq!(rules(&[0x53, 0xeb, 0xfd]), [(0x1000, cfa::NONE, 0, 0, 0), (0x1003, cfa::NONE, 0, 0, 0)]);
    }

    #[test]
    fn an_aligned_stack_is_found_where_it_was_saved() {
        // mov rax, rsp; sub rsp, 0x40; and rsp, -32; mov [rsp+0x38], rax; nop; mov rsp, [rsp+0x38]; ret
        let bytes = [
            0x48, 0x89, 0xe0, 0x48, 0x83, 0xec, 0x40, 0x48, 0x83, 0xe4, 0xe0, 0x48, 0x89, 0x44, 0x24, 0x38, 0x90, 0x48,
            0x8b, 0x64, 0x24, 0x38, 0xc3,
        ];
        let expected = [
            (0x1000, cfa::SP, 8, 0, 0),
            (0x1007, cfa::SP, 72, 0, 0),
            (0x100b, cfa::REGISTER, 8, 0, 0),
            (0x1010, cfa::SP_DEREF, 0x38, 8, 0),
            (0x1016, cfa::SP, 8, 0, 0),
            (0x1017, cfa::NONE, 0, 0, 0),
        ];
        assert_eq!(rules(&bytes), expected);
    }

    #[test]
    fn an_aligned_stack_is_found_above_a_frame_pointer_of_its_own() {
        // As in libjpeg-turbo: push rbp; mov rax, rsp; sub rsp, 4; and rsp, -16; mov [rsp], rax; mov rbp, rsp;
        // lea rsp, [rbp-0x20]; push rbp; nop; pop rbp; mov rsp, rbp; pop rsp; pop rbp; ret
        let bytes = [
            0x55, 0x48, 0x89, 0xe0, 0x48, 0x83, 0xec, 0x04, 0x48, 0x83, 0xe4, 0xf0, 0x48, 0x89, 0x04, 0x24, 0x48, 0x89,
            0xe5, 0x48, 0x8d, 0x65, 0xe0, 0x55, 0x90, 0x5d, 0x48, 0x89, 0xec, 0x5c, 0x5d, 0xc3,
        ];
        let expected = [
            (0x1000, cfa::SP, 8, 0, 0),
            (0x1001, cfa::SP, 16, 0, -16),
            (0x1008, cfa::SP, 20, 0, -16),
            (0x100c, cfa::REGISTER, 16, 0, -16),
            (0x1010, cfa::SP_DEREF, 0, 16, -16),
            (0x1017, cfa::SP_DEREF, 0x20, 16, -16),
            (0x1018, cfa::SP_DEREF, 0x28, 16, -16),
            (0x101a, cfa::SP_DEREF, 0x20, 16, -16),
            (0x101d, cfa::SP_DEREF, 0, 16, -16),
            (0x101e, cfa::SP, 16, 0, -16),
            (0x101f, cfa::SP, 8, 0, 0),
            (0x1020, cfa::NONE, 0, 0, 0),
        ];
        assert_eq!(rules(&bytes), expected);
    }

    #[test]
    fn a_copy_of_the_stack_pointer_that_is_written_is_lost() {
        // mov rax, rsp; and rsp, -32; xor eax, eax; nop; mov rsp, rax; ret: no function does that.
        let bytes = [0x48, 0x89, 0xe0, 0x48, 0x83, 0xe4, 0xe0, 0x31, 0xc0, 0x90, 0x48, 0x89, 0xc4, 0xc3];
        assert_eq!(rules(&bytes), [(0x1000, cfa::NONE, 0, 0, 0), (0x100e, cfa::NONE, 0, 0, 0)]);
    }

    #[test]
    fn code_with_frame_pointers_and_data_have_no_rows() {
        assert_eq!(rules(&[0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3]), []);
        assert_eq!(rules(&[0; 64]), [(0x1000, cfa::NONE, 0, 0, 0), (0x1040, cfa::NONE, 0, 0, 0)]);
    }

    #[test]
    fn a_function_whose_returns_do_not_balance_has_no_rows() {
        // push rax; ret; then nop; ret
        let expected = [(0x1000, cfa::NONE, 0, 0, 0), (0x1002, cfa::SP, 8, 0, 0), (0x1004, cfa::NONE, 0, 0, 0)];
        assert_eq!(rules(&[0x50, 0xc3, 0x90, 0xc3]), expected);
        // add rsp, 8; nop; sub rsp, 8; ret: what it keeps is in its caller's frame.
        let shared = rules(&[0x48, 0x83, 0xc4, 0x08, 0x90, 0x48, 0x83, 0xec, 0x08, 0xc3]);
        assert_eq!(shared[..2], [(0x1000, cfa::SP, 8, 0, 0), (0x1004, cfa::SP, 0, 0, 0)]);
        // pop rbp; ret: a frame pointer that was never saved.
        assert_eq!(rules(&[0x5d, 0xc3])[0], (0x1000, cfa::NONE, 0, 0, 0));
    }
}
