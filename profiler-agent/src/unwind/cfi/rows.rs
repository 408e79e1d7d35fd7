//! A row of call frame information as a [`Rule`].

use super::expression::{Base, Value, solve};
use super::machine::Machine;
use super::program::{Column, State, code};
use gimli::{CfaRule, Encoding, EndianSlice, LittleEndian, Register, RegisterRule, UnwindExpression};
use profiler_common::unwind::rule::{Rule, cfa, fp, ra};

/// What is needed beside a row.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The file's architecture.
    pub(super) machine: &'static Machine,
    /// The section, in which expressions lie.
    pub(super) section: &'a [u8],
    /// How its expressions are written.
    pub(super) encoding: Encoding,
    /// The column of the return address.
    pub(super) ra: Register,
}

impl Rows<'_> {
    /// The rule of a row; [`Rule::UNSUPPORTED`] when none says the same.
    pub(super) fn rule(&self, state: &State) -> Rule {
        match state.ra {
            Some(RegisterRule::Undefined) => Rule::END,
            _ => self.express(state).unwrap_or(Rule::UNSUPPORTED),
        }
    }

    fn express(&self, state: &State) -> Option<Rule> {
        let cfa = match state.cfa.as_ref()? {
            CfaRule::RegisterAndOffset { register, offset } => Value::Sum(Base::Register(*register), *offset),
            CfaRule::Expression(expression) => self.solve(*expression, None)?,
        };
        if !self.is_cfa(&state.sp) {
            return None;
        }
        let mut rule = self.cfa_rule(cfa)?;
        self.set_fp(&mut rule, &state.fp, cfa);
        self.set_ra(&mut rule, &state.ra, cfa)?;
        Some(rule)
    }

    fn solve(&self, expression: UnwindExpression<usize>, first: Option<Value>) -> Option<Value> {
        let code = code(expression, self.section)?;
        solve(EndianSlice::new(code, LittleEndian), self.encoding, first, self.machine)
    }

    /// Expressions of registers find the CFA on their stack.
    fn solve_from_cfa(&self, expression: UnwindExpression<usize>) -> Option<Value> {
        self.solve(expression, Some(Value::Sum(Base::Cfa, 0)))
    }

    /// Whether the caller's stack pointer is the CFA: code that switches stacks says otherwise.
    fn is_cfa(&self, sp: &Column) -> bool {
        match sp {
            None | Some(RegisterRule::ValOffset(0)) => true,
            Some(RegisterRule::ValExpression(expression)) => {
                self.solve_from_cfa(*expression) == Some(Value::Sum(Base::Cfa, 0))
            }
            _ => false,
        }
    }

    fn cfa_rule(&self, value: Value) -> Option<Rule> {
        let (kind, register, offset, extra) = match value {
            Value::Sum(Base::Register(register), offset) if register == self.machine.sp => (cfa::SP, 0, offset, 0),
            Value::Sum(Base::Register(register), offset) if register == self.machine.fp => (cfa::FP, 0, offset, 0),
            Value::Sum(Base::Register(register), offset) => (cfa::REGISTER, self.machine.slot(register)?, offset, 0),
            Value::Load(Base::Register(register), offset, extra) if register == self.machine.sp => {
                (cfa::SP_DEREF, 0, offset, extra)
            }
            Value::Load(Base::Register(register), offset, extra) if register == self.machine.fp => {
                (cfa::FP_DEREF, 0, offset, extra)
            }
            Value::Stub(threshold @ 0..=16) => (cfa::PLT, 0, 8 * threshold, 0),
            _ => return None,
        };
        let (cfa_offset, extra) = (offset.try_into().ok()?, extra.try_into().ok()?);
        Some(Rule { cfa: kind, register, cfa_offset, extra, ..Rule::NONE })
    }

    /// A frame pointer that is not where a rule can say is as good as lost.
    fn set_fp(&self, rule: &mut Rule, column: &Column, cfa: Value) {
        let place = match column {
            None | Some(RegisterRule::SameValue) => Some((fp::SAME, 0)),
            Some(RegisterRule::Offset(offset)) => Some((fp::AT_CFA, *offset)),
            Some(RegisterRule::Register(register)) if *register == self.machine.fp => Some((fp::SAME, 0)),
            Some(RegisterRule::Expression(expression)) => {
                self.solve_from_cfa(*expression).and_then(|address| self.fp_at(address, cfa))
            }
            Some(RegisterRule::ValExpression(expression)) => match self.solve_from_cfa(*expression) {
                Some(Value::Sum(Base::Register(register), 0)) if register == self.machine.fp => Some((fp::SAME, 0)),
                Some(Value::Load(base, offset, 0)) => self.fp_at(Value::Sum(base, offset), cfa),
                _ => None,
            },
            _ => None,
        };
        let place = place.and_then(|(kind, offset)| Some((kind, i32::try_from(offset).ok()?)));
        (rule.fp, rule.fp_offset) = place.unwrap_or((fp::UNDEFINED, 0));
    }

    fn fp_at(&self, address: Value, cfa: Value) -> Option<(u8, i64)> {
        match (from_cfa(address, cfa), address) {
            (Some(distance), _) => Some((fp::AT_CFA, distance)),
            (None, Value::Sum(Base::Register(register), offset)) if register == self.machine.fp => {
                Some((fp::AT_FP, offset))
            }
            _ => None,
        }
    }

    fn set_ra(&self, rule: &mut Rule, column: &Column, cfa: Value) -> Option<()> {
        let distance = match column {
            None if self.ra == self.machine.ra => {
                rule.ra = self.machine.unsaved_ra;
                return Some(());
            }
            Some(RegisterRule::SameValue) if self.is_link(self.ra) => {
                rule.ra = ra::LINK;
                return Some(());
            }
            Some(RegisterRule::Register(register)) if self.is_link(*register) => {
                rule.ra = ra::LINK;
                return Some(());
            }
            Some(RegisterRule::Register(register)) => {
                rule.ra = ra::REGISTER;
                return set_extra(rule, i64::from(self.machine.slot(*register)?));
            }
            Some(RegisterRule::Offset(offset)) => *offset,
            Some(RegisterRule::Expression(expression)) => from_cfa(self.solve_from_cfa(*expression)?, cfa)?,
            Some(RegisterRule::ValExpression(expression)) => match self.solve_from_cfa(*expression)? {
                Value::Load(base, offset, 0) => from_cfa(Value::Sum(base, offset), cfa)?,
                _ => return None,
            },
            _ => return None,
        };
        if distance == -8 {
            rule.ra = ra::BELOW_CFA;
        } else if rule.fp == fp::AT_CFA && distance == i64::from(rule.fp_offset) + 8 {
            rule.ra = ra::ABOVE_FP;
        } else {
            rule.ra = ra::AT_CFA;
            return set_extra(rule, distance);
        }
        Some(())
    }

    fn is_link(&self, register: Register) -> bool {
        self.machine.unsaved_ra == ra::LINK && register == self.machine.ra
    }
}

/// How far an address is from the CFA, where that is the same in every frame.
fn from_cfa(address: Value, cfa: Value) -> Option<i64> {
    match (address, cfa) {
        (Value::Sum(Base::Cfa, distance), _) => Some(distance),
        (Value::Sum(base, offset), Value::Sum(cfa_base, cfa_offset)) if base == cfa_base => {
            offset.checked_sub(cfa_offset)
        }
        (Value::Load(base, offset, extra), Value::Load(cfa_base, cfa_offset, cfa_extra))
            if (base, offset) == (cfa_base, cfa_offset) =>
        {
            extra.checked_sub(cfa_extra)
        }
        _ => None,
    }
}

/// The CFA and the return address may want `extra` for themselves.
fn set_extra(rule: &mut Rule, extra: i64) -> Option<()> {
    let extra = i32::try_from(extra).ok()?;
    if matches!(rule.cfa, cfa::SP_DEREF | cfa::FP_DEREF) && rule.extra != extra {
        return None;
    }
    rule.extra = extra;
    Some(())
}
