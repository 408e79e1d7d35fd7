//! A stretch of code: which instructions follow which, and where a function ends and the next one begins.

use super::Row;
use super::state::State;
use iced_x86::{FlowControl, Instruction, Mnemonic};
use profiler_common::unwind::rule::Rule;
use std::collections::BTreeMap;

/// Jumps to code ahead that are remembered.
const MAX_JUMPS: usize = 1 << 14;

/// A stretch that is followed from address to address.
pub(super) struct Stretch<'a> {
    /// Of all code.
    pub(super) rows: &'a mut Vec<Row>,
    /// What holds before the next instruction.
    pub(super) state: State,
    /// Number of rows before it.
    first: usize,
    /// Whether the instruction before goes on with the next one.
    goes_on: bool,
    /// What holds where jumps lead that were met.
    ahead: BTreeMap<u64, State>,
    function: Function,
}

/// Code up to a return, or to a jump that is no less of an end, that no jump leads across. Its rows stay when each of
/// its returns is where the return address is: else it is data, or does what is not followed here.
struct Function {
    /// Number of rows before it.
    first: usize,
    returns: bool,
    /// Whether all its returns were.
    balances: bool,
}

impl<'a> Stretch<'a> {
    /// One that begins with a function.
    pub(super) fn new(rows: &'a mut Vec<Row>) -> Self {
        let first = rows.len();
        let function = Function { first, returns: false, balances: true };
        Self { rows, state: State::CALLED, first, goes_on: true, ahead: BTreeMap::new(), function }
    }

    /// Before an instruction.
    pub(super) fn arrive(&mut self, instruction: &Instruction) {
        if !self.goes_on {
            let known = self.ahead.get(&instruction.ip());
            // Loops are aligned.
            let is_padding = matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3);
            self.goes_on = known.is_some() || !is_padding;
            self.state = known.copied().unwrap_or(self.state);
        }
        let rule = self.state.rule();
        if self.rows.len() == self.function.first || self.rows.last().is_some_and(|(_, last)| *last != rule) {
            self.rows.push((instruction.ip(), rule));
        }
    }

    /// After an instruction.
    pub(super) fn leave(&mut self, instruction: &Instruction) {
        let next = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::ConditionalBranch => self.remember(instruction),
            FlowControl::UnconditionalBranch => {
                self.remember(instruction);
                self.goes_on = false;
                self.function.returns |= self.ends_with(instruction.near_branch_target());
                if self.function.returns && self.is_last(next) {
                    self.end();
                }
            }
            FlowControl::Return => {
                self.goes_on = false;
                self.function.returns = true;
                self.function.balances &= self.state.has_returned();
                self.state = State::CALLED;
                if self.is_last(next) {
                    self.end();
                }
            }
            _ => self.function.balances &= !instruction.is_invalid(),
        }
        if self.ahead.len() >= MAX_JUMPS {
            self.ahead = self.ahead.split_off(&next);
        }
    }

    /// Ends the function: keeps its rows, or says that there are none.
    pub(super) fn end(&mut self) {
        let Function { first, returns, balances } = self.function;
        if !(returns && balances)
            && let Some(&(start, _)) = self.rows.get(first)
        {
            self.rows.truncate(first);
            self.rows.push((start, Rule::NONE));
        }
        self.function = Function { first: self.rows.len(), returns: false, balances: true };
        self.state = State::CALLED;
    }

    fn remember(&mut self, jump: &Instruction) {
        let target = jump.near_branch_target();
        if target > jump.ip() && self.ahead.len() < MAX_JUMPS {
            self.ahead.entry(target).or_insert(self.state);
        }
    }

    /// Whether no jump leads to what is left.
    fn is_last(&self, next: u64) -> bool {
        self.ahead.range(next..).next().is_none()
    }

    /// Whether a jump is as good as a return: it calls another function instead, or goes back to where the stack is the
    /// same, as to the end of a function that several have.
    fn ends_with(&self, target: u64) -> bool {
        let (rows, rule) = (&self.rows[self.first..], self.state.rule());
        let before = rows.partition_point(|(address, _)| *address <= target).checked_sub(1);
        let is_same = before.is_some_and(|row| rows[row].1 == rule) && rule != Rule::NONE;
        self.state.has_returned() || is_same
    }
}
