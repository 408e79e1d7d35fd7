//! Call frame instructions, run for the four columns that a rule is made of.
//!
//! gimli reads them. Its own evaluator keeps every register and runs a common entry's instructions again for each
//! function; this one keeps what is asked for, starts from the common entry's result, and takes states to remember at
//! any depth that a compiler reaches.

use gimli::{CallFrameInstruction, CfaRule, Register, RegisterRule, UnwindExpression};

/// States remembered at once.
const MAX_REMEMBERED: usize = 64;

/// Where a register is; none where nothing is said.
pub(super) type Column = Option<RegisterRule<usize>>;

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Canonical frame address.
    pub(super) cfa: Option<CfaRule<usize>>,
    /// Stack pointer.
    pub(super) sp: Column,
    /// Frame pointer.
    pub(super) fp: Column,
    /// Return address.
    pub(super) ra: Column,
}

/// What a common entry says about its functions' instructions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Column of the stack pointer.
    pub(super) sp: Register,
    /// Column of the frame pointer.
    pub(super) fp: Register,
    /// Column of the return address.
    pub(super) ra: Register,
    /// Unit of advances.
    pub(super) code_alignment: u64,
    /// Unit of offsets.
    pub(super) data_alignment: i64,
}

/// What an instruction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that matters.
    Nothing,
    /// Changed the state.
    Changed,
    /// The state holds up to this address.
    Advanced(u64),
}

/// A run.
pub(super) struct Program<'a> {
    /// How to read instructions.
    pub(super) format: Format,
    /// The common entry's result; none while that one runs.
    pub(super) initial: Option<&'a State>,
    /// Remembered states.
    pub(super) remembered: &'a mut Vec<State>,
    /// The row at hand.
    pub(super) state: State,
    /// Where it begins.
    pub(super) address: u64,
}

impl Program<'_> {
    /// Runs an instruction; none when it makes no sense.
    pub(super) fn apply(&mut self, instruction: CallFrameInstruction<usize>) -> Option<Effect> {
        use CallFrameInstruction as I;
        match instruction {
            I::AdvanceLoc { delta } => {
                let distance = u64::from(delta).checked_mul(self.format.code_alignment)?;
                self.advance(self.address.checked_add(distance)?)
            }
            I::SetLoc { address } => self.advance(address),
            I::DefCfa { register, offset } => self.set_cfa(register, offset.try_into().ok()?),
            I::DefCfaSf { register, factored_offset } => self.set_cfa(register, self.scaled(factored_offset)?),
            I::DefCfaRegister { register } => self.set_cfa(register, self.cfa()?.1),
            I::DefCfaOffset { offset } => self.set_cfa(self.cfa()?.0, offset.try_into().ok()?),
            I::DefCfaOffsetSf { factored_offset } => self.set_cfa(self.cfa()?.0, self.scaled(factored_offset)?),
            I::DefCfaExpression { expression } => {
                self.state.cfa = Some(CfaRule::Expression(expression));
                Some(Effect::Changed)
            }
            I::RememberState => self.remember(),
            I::RestoreState => {
                self.state = self.remembered.pop()?;
                Some(Effect::Changed)
            }
            I::ArgsSize { .. } | I::NegateRaState | I::Nop => Some(Effect::Nothing),
            instruction => self.apply_to_register(instruction),
        }
    }

    fn apply_to_register(&mut self, instruction: CallFrameInstruction<usize>) -> Option<Effect> {
        use CallFrameInstruction as I;
        let factored = |offset: u64| self.scaled(offset.try_into().ok()?);
        let (register, rule) = match instruction {
            I::Undefined { register } => (register, RegisterRule::Undefined),
            I::SameValue { register } => (register, RegisterRule::SameValue),
            I::Offset { register, factored_offset } => (register, RegisterRule::Offset(factored(factored_offset)?)),
            I::OffsetExtendedSf { register, factored_offset } => {
                (register, RegisterRule::Offset(self.scaled(factored_offset)?))
            }
            I::ValOffset { register, factored_offset } => {
                (register, RegisterRule::ValOffset(factored(factored_offset)?))
            }
            I::ValOffsetSf { register, factored_offset } => {
                (register, RegisterRule::ValOffset(self.scaled(factored_offset)?))
            }
            I::Register { dest_register, src_register } => (dest_register, RegisterRule::Register(src_register)),
            I::Expression { register, expression } => (register, RegisterRule::Expression(expression)),
            I::ValExpression { register, expression } => (register, RegisterRule::ValExpression(expression)),
            I::Restore { register } => return self.restore(register),
            _ => return None,
        };
        self.set(register, Some(rule))
    }

    fn advance(&mut self, address: u64) -> Option<Effect> {
        if address < self.address {
            return None;
        }
        self.address = address;
        Some(Effect::Advanced(address))
    }

    fn scaled(&self, offset: i64) -> Option<i64> {
        offset.checked_mul(self.format.data_alignment)
    }

    fn cfa(&self) -> Option<(Register, i64)> {
        match self.state.cfa {
            Some(CfaRule::RegisterAndOffset { register, offset }) => Some((register, offset)),
            _ => None,
        }
    }

    fn set_cfa(&mut self, register: Register, offset: i64) -> Option<Effect> {
        self.state.cfa = Some(CfaRule::RegisterAndOffset { register, offset });
        Some(Effect::Changed)
    }

    fn remember(&mut self) -> Option<Effect> {
        if self.remembered.len() >= MAX_REMEMBERED {
            return None;
        }
        self.remembered.push(self.state.clone());
        Some(Effect::Nothing)
    }

    fn restore(&mut self, register: Register) -> Option<Effect> {
        let initial = self.initial?;
        let rule = if register == self.format.fp {
            initial.fp.clone()
        } else if register == self.format.ra {
            initial.ra.clone()
        } else {
            initial.sp.clone()
        };
        self.set(register, rule)
    }

    fn set(&mut self, register: Register, rule: Column) -> Option<Effect> {
        let Format { sp, fp, ra, .. } = self.format;
        let column = match register {
            register if register == fp => &mut self.state.fp,
            register if register == ra => &mut self.state.ra,
            register if register == sp => &mut self.state.sp,
            _ => return Some(Effect::Nothing),
        };
        *column = rule;
        Some(Effect::Changed)
    }
}

/// The bytes of an expression in its section.
pub(super) fn code(expression: UnwindExpression<usize>, section: &[u8]) -> Option<&[u8]> {
    section.get(expression.offset..)?.get(..expression.length)
}
