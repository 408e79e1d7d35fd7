//! Rows for code without entries: assembly that people wrote without call frame information, as in codecs and in the C
//! runtime's `_init`.
//!
//! Instructions are followed from address to address: what they push and reserve is how far the CFA is above the stack
//! pointer. Code that sets up frame pointers gets no rows, as those are good enough.

use super::PADDING_BYTES;
use super::entries::Entry;
use super::layout::Layout;
use super::machine::Machine;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use profiler_common::unwind::rule::{Rule, cfa, fp};
use std::collections::BTreeMap;
use std::ops::Range;

/// Code followed in one file: five times that of the largest codec.
const MAX_CODE_BYTES: u64 = 8 << 20;
/// Rows of one file.
const MAX_ROWS: usize = 1 << 18;
/// Jumps to code ahead that are remembered.
const MAX_JUMPS: usize = 1 << 14;
/// `push rbp; mov rbp, rsp`
const FRAME_POINTER: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
/// Distances beyond that are no frame.
const MAX_FRAME_BYTES: i64 = 1 << 20;

/// Slot in the kernel's `struct pt_regs` of each general register, as instructions number them.
const SLOTS: [u8; 16] = [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];

/// A row of the table.
pub(super) type Row = (u64, Rule);

/// Rows for what lies between entries, which are in order of address. Code that cannot be read has none.
pub(super) fn rows(layout: &Layout<'_>, entries: &[Entry]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut budget = MAX_CODE_BYTES;
    if !std::ptr::eq(layout.machine, Machine::X86_64) {
        return rows;
    }
    for gap in layout.code.iter().flat_map(|code| gaps(code, entries)) {
        let Some(left) = budget.checked_sub(gap.end - gap.start) else { continue };
        budget = left;
        if let Some(bytes) = layout.image.code(gap.start, gap.end - gap.start) {
            follow(gap.start, &bytes, &mut rows);
        }
    }
    rows.sort_by_key(|(address, _)| *address);
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

/// The rows of one stretch of code, and one that ends them. A function's rows stay when each of its returns is where the
/// return address is: else it is data, or does what is not followed here.
fn follow(start: u64, bytes: &[u8], rows: &mut Vec<Row>) {
    if bytes.windows(FRAME_POINTER.len()).any(|window| window == FRAME_POINTER) {
        return;
    }
    let (mut state, mut ahead) = (State::CALLED, BTreeMap::new());
    let mut function = Function { rows: rows.len(), returns: false, balances: true };
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() && rows.len() < MAX_ROWS {
        decoder.decode_out(&mut instruction);
        let rule = state.rule();
        if rows.len() == function.rows || rows.last().is_some_and(|(_, last)| *last != rule) {
            rows.push((instruction.ip(), rule));
        }
        state.step(&instruction);
        let next = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::ConditionalBranch => remember(&mut ahead, &instruction, state),
            FlowControl::UnconditionalBranch => {
                remember(&mut ahead, &instruction, state);
                state = ahead.get(&next).copied().unwrap_or(state);
            }
            FlowControl::Return => {
                function.returns = true;
                function.balances &= state.has_returned();
                state = ahead.get(&next).copied().unwrap_or(State::CALLED);
                if ahead.range(next..).next().is_none() {
                    function.end(rows);
                    function = Function { rows: rows.len(), returns: false, balances: true };
                }
            }
            _ => function.balances &= !instruction.is_invalid(),
        }
        ahead = if ahead.len() < MAX_JUMPS { ahead } else { ahead.split_off(&next) };
    }
    function.end(rows);
    rows.push((decoder.ip(), Rule::NONE));
}

/// Code up to a return that no jump leads across.
struct Function {
    /// Number of rows before it.
    rows: usize,
    returns: bool,
    /// Whether all its returns were.
    balances: bool,
}

impl Function {
    /// Keeps its rows or says that there are none.
    fn end(&self, rows: &mut Vec<Row>) {
        if !(self.returns && self.balances)
            && let Some(&(start, _)) = rows.get(self.rows)
        {
            rows.truncate(self.rows);
            rows.push((start, Rule::NONE));
        }
    }
}

fn remember(ahead: &mut BTreeMap<u64, State>, jump: &Instruction, state: State) {
    let target = jump.near_branch_target();
    if target > jump.ip() && ahead.len() < MAX_JUMPS {
        ahead.entry(target).or_insert(state);
    }
}

/// Where the CFA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// `sp + .0`
    Stack(i64),
    /// `.0 + .1`, the stack pointer having been aligned.
    Register(Register, i64),
    /// `*(sp + .0) + .1`
    Saved(i64, i64),
    /// Lost.
    Lost,
}

/// What is known before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    base: Base,
    /// A register that holds what the stack pointer was, and how far that is below the CFA.
    copy: (Register, i64),
    /// Where the caller's frame pointer is, from the CFA; in its register when 0.
    fp: i64,
}

impl State {
    /// Before a function's first instruction.
    const CALLED: Self = Self { base: Base::Stack(8), copy: (Register::None, 0), fp: 0 };

    /// Whether the stack and the frame pointer are the caller's, as they must be at a return.
    fn has_returned(&self) -> bool {
        self.base == Base::Stack(8) && self.fp == 0
    }

    fn rule(&self) -> Rule {
        let kind = |offset: i64| if offset == 0 { (fp::SAME, 0) } else { (fp::AT_CFA, offset as i32) };
        let (fp, fp_offset) = kind(self.fp);
        let is_frame = |bytes: i64| (0..MAX_FRAME_BYTES).contains(&bytes);
        match self.base {
            Base::Stack(bytes) if is_frame(bytes.saturating_sub(8)) => {
                Rule { cfa: cfa::SP, cfa_offset: bytes as i32, fp, fp_offset, ..Rule::NONE }
            }
            Base::Saved(at, bytes) if is_frame(at) && is_frame(bytes.saturating_sub(8)) => {
                Rule { cfa: cfa::SP_DEREF, cfa_offset: at as i32, extra: bytes as i32, fp, fp_offset, ..Rule::NONE }
            }
            Base::Register(register, bytes) if is_frame(bytes) => match SLOTS.get(register.number()) {
                Some(&register) => {
                    Rule { cfa: cfa::REGISTER, register, cfa_offset: bytes as i32, fp, fp_offset, ..Rule::NONE }
                }
                None => Rule::NONE,
            },
            _ => Rule::NONE,
        }
    }

    /// The stack pointer becomes so much lower.
    fn grow(&mut self, bytes: i64) {
        match &mut self.base {
            Base::Stack(height) => *height = height.saturating_add(bytes),
            Base::Saved(at, _) => *at = at.saturating_add(bytes),
            Base::Register(..) | Base::Lost => {}
        }
    }

    fn step(&mut self, instruction: &Instruction) {
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        let offset = instruction.memory_displacement64() as i64;
        match (instruction.mnemonic(), to) {
            (Mnemonic::Push, _) => self.push(to),
            (Mnemonic::Pop, _) => {
                self.grow(-8);
                self.fp = if to == Register::RBP { 0 } else { self.fp };
            }
            (Mnemonic::Sub, Register::RSP) if is_constant(instruction) => self.grow(instruction.immediate(1) as i64),
            (Mnemonic::Add, Register::RSP) if is_constant(instruction) => {
                self.grow((instruction.immediate(1) as i64).saturating_neg());
            }
            (Mnemonic::And, Register::RSP) => {
                let (register, bytes) = self.copy;
                self.base = if register == Register::None { Base::Lost } else { Base::Register(register, bytes) };
            }
            (Mnemonic::Lea, Register::RSP) if instruction.memory_base() == Register::RSP => {
                self.grow(offset.saturating_neg());
            }
            (Mnemonic::Lea, Register::RSP) => self.restore(instruction.memory_base(), offset),
            (Mnemonic::Mov, Register::RSP) if instruction.op1_kind() == OpKind::Register => self.restore(from, 0),
            (Mnemonic::Mov, Register::RSP) => {
                self.base = match self.base {
                    Base::Saved(at, bytes) if at == offset && instruction.memory_base() == Register::RSP => {
                        Base::Stack(bytes)
                    }
                    _ => Base::Lost,
                };
            }
            (Mnemonic::Mov, _) if from == Register::RSP => {
                if let Base::Stack(bytes) = self.base {
                    self.copy = (to, bytes);
                }
            }
            (Mnemonic::Mov, _) if instruction.code() == Code::Mov_rm64_r64 => self.save(instruction, from, offset),
            (Mnemonic::Leave | Mnemonic::Enter, _) => self.base = Base::Lost,
            _ => {}
        }
    }

    fn push(&mut self, register: Register) {
        self.grow(8);
        if let (Register::RBP, 0, Base::Stack(height)) = (register, self.fp, self.base) {
            self.fp = height.clamp(0, MAX_FRAME_BYTES).saturating_neg();
        }
    }

    /// The stack pointer comes from a register.
    fn restore(&mut self, register: Register, offset: i64) {
        let (copy, bytes) = self.copy;
        self.base = if copy == register { Base::Stack(bytes.saturating_sub(offset)) } else { Base::Lost };
    }

    /// What the stack pointer was goes to the stack.
    fn save(&mut self, instruction: &Instruction, register: Register, offset: i64) {
        if let Base::Register(copy, bytes) = self.base
            && copy == register
            && instruction.memory_base() == Register::RSP
        {
            self.base = Base::Saved(offset, bytes);
        }
    }
}

/// Whether the second operand is one.
fn is_constant(instruction: &Instruction) -> bool {
    instruction.op1_kind() != OpKind::Register && instruction.op1_kind() != OpKind::Memory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(bytes: &[u8]) -> Vec<(u64, u8, i32, i32, i32)> {
        let mut rows = Vec::new();
        follow(0x1000, bytes, &mut rows);
        let plain = |(at, rule): &Row| (*at, rule.cfa, rule.cfa_offset, rule.extra, rule.fp_offset);
        rows.iter().map(plain).collect()
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
    fn code_with_frame_pointers_and_data_have_no_rows() {
        assert_eq!(rules(&[0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3]), []);
        assert_eq!(rules(&[0; 64]), [(0x1000, cfa::NONE, 0, 0, 0), (0x1040, cfa::NONE, 0, 0, 0)]);
    }

    #[test]
    fn a_function_whose_returns_do_not_balance_has_no_rows() {
        // push rax; ret; then nop; ret
        let expected = [(0x1000, cfa::NONE, 0, 0, 0), (0x1002, cfa::SP, 8, 0, 0), (0x1004, cfa::NONE, 0, 0, 0)];
        assert_eq!(rules(&[0x50, 0xc3, 0x90, 0xc3]), expected);
        // pop rbp; ret: a frame pointer that was never saved.
        assert_eq!(rules(&[0x5d, 0xc3])[0], (0x1000, cfa::NONE, 0, 0, 0));
    }
}
