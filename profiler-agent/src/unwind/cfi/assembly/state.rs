//! What instructions do to the stack pointer and to the frame pointer.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use profiler_common::unwind::rule::{Rule, cfa, fp};

/// Distances beyond that are no frame.
const MAX_FRAME_BYTES: i64 = 1 << 20;

/// Slot in the kernel's `struct pt_regs` of each general register, as instructions number them.
const SLOTS: [u8; 16] = [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];

/// The slot of a general register.
pub(super) fn slot(register: Register) -> Option<u8> {
    SLOTS.get(register.number()).copied().filter(|_| register.is_gpr64())
}

/// Where the CFA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
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
pub(super) struct State {
    pub(super) base: Base,
    /// A register that holds what the stack pointer was, and how far that is below the CFA.
    copy: (Register, i64),
    /// The same of a later stack pointer, and how far it is below where the CFA was saved.
    anchor: (Register, i64),
    /// Where the caller's frame pointer is, from the CFA; in its register when 0.
    fp: i64,
}

impl State {
    /// Before a function's first instruction.
    pub(super) const CALLED: Self =
        Self { base: Base::Stack(8), copy: (Register::None, 0), anchor: (Register::None, 0), fp: 0 };

    /// Whether the stack and the frame pointer are the caller's, as they must be at a return.
    pub(super) fn has_returned(&self) -> bool {
        self.base == Base::Stack(8) && self.fp == 0
    }

    /// The register that holds what the stack pointer was.
    pub(super) fn copied(&self) -> Option<Register> {
        Some(self.copy.0).filter(|register| *register != Register::None)
    }

    /// That register is about to be written.
    pub(super) fn lose_copy(&mut self) {
        self.copy = (Register::None, 0);
        if let Base::Register(..) = self.base {
            self.base = Base::Lost;
        }
    }

    pub(super) fn rule(&self) -> Rule {
        let kind = |offset: i64| if offset == 0 { (fp::SAME, 0) } else { (fp::AT_CFA, offset as i32) };
        let (fp, fp_offset) = kind(self.fp);
        let is_frame = |bytes: i64| (0..MAX_FRAME_BYTES).contains(&bytes);
        match self.base {
            // At 0, the return address lies below the stack pointer, where nobody else writes: the function shares its
            // caller's frame.
            Base::Stack(bytes) if is_frame(bytes) => {
                Rule { cfa: cfa::SP, cfa_offset: bytes as i32, fp, fp_offset, ..Rule::NONE }
            }
            Base::Saved(at, bytes) if is_frame(at) && is_frame(bytes.saturating_sub(8)) => {
                Rule { cfa: cfa::SP_DEREF, cfa_offset: at as i32, extra: bytes as i32, fp, fp_offset, ..Rule::NONE }
            }
            Base::Register(register, bytes) if is_frame(bytes) => match slot(register) {
                Some(register) => {
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

    pub(super) fn step(&mut self, instruction: &Instruction) {
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        let offset = instruction.memory_displacement64() as i64;
        match (instruction.mnemonic(), to) {
            (Mnemonic::Push, _) => self.push(to),
            (Mnemonic::Pop, Register::RSP) => {
                self.base = if let Base::Saved(0, bytes) = self.base { Base::Stack(bytes) } else { Base::Lost };
            }
            (Mnemonic::Pop, _) => self.pop(to),
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
            (Mnemonic::Mov, _) if from == Register::RSP => match self.base {
                Base::Stack(bytes) => self.copy = (to, bytes),
                Base::Saved(at, _) => self.anchor = (to, at),
                Base::Register(..) | Base::Lost => {}
            },
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

    /// Elsewhere than where the caller's was pushed, the frame pointer is a register like others.
    fn pop(&mut self, register: Register) {
        if register == Register::RBP && self.base == Base::Stack(self.fp.saturating_neg()) {
            self.fp = 0;
        }
        self.grow(-8);
    }

    /// The stack pointer comes from a register, and so much is added.
    fn restore(&mut self, register: Register, offset: i64) {
        let ((copy, height), (anchor, at)) = (self.copy, self.anchor);
        self.base = match self.base {
            Base::Saved(_, bytes) if anchor == register => Base::Saved(at.saturating_sub(offset), bytes),
            _ if copy == register => Base::Stack(height.saturating_sub(offset)),
            _ => Base::Lost,
        };
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
