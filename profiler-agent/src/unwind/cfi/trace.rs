//! Rows of a function without call frame information, from its instructions.
//!
//! Only for the handful of instructions that the start-up code of gcc and of the C libraries is made of. Nothing is
//! guessed: each instruction's effect on the stack is known, where paths meet they must agree, and a function leaves
//! with the stack it was entered with; else there are no rows at all.

mod aarch64;
mod x86_64;

use profiler_common::unwind::rule::{Rule, cfa, ra};
use std::collections::BTreeMap;

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// From the next instruction on, this rule holds.
    Next(Rule),
    /// May go on so many bytes from here.
    Branch(i64),
    /// Calls the function that begins so many bytes from here; none where a register or memory says which.
    Call(Option<i64>),
    /// Returns, or jumps to another function.
    Leave(Option<i64>),
}

type Decode = fn(&[u8], Rule) -> Option<(usize, Effect)>;

/// Instructions of an architecture.
#[derive(Debug)]
pub(super) struct Instructions {
    /// Where a function begins.
    entry: Rule,
    /// Bytes and effect of the first of some instructions under a rule; none for one that is not known.
    decode: Decode,
}

pub(super) static X86_64: Instructions =
    Instructions { entry: Rule { cfa: cfa::SP, cfa_offset: 8, ..Rule::NONE }, decode: x86_64::decode };

pub(super) static AARCH64: Instructions =
    Instructions { entry: Rule { cfa: cfa::SP, ra: ra::LINK, ..Rule::NONE }, decode: aarch64::decode };

/// A function whose every instruction is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Traced {
    /// Bytes of its instructions.
    pub(super) length: u64,
    /// Distance from its start, and the rule from there on.
    pub(super) rows: Vec<(u64, Rule)>,
    /// Distances of functions that it calls or goes on in.
    pub(super) targets: Vec<i64>,
}

/// The function that some code begins with.
pub(super) fn trace(instructions: &Instructions, code: &[u8]) -> Option<Traced> {
    let mut path = Path::new(instructions);
    while let Some(at) = path.at {
        let (bytes, effect) = (instructions.decode)(code.get(at..)?, path.rule)?;
        path.follow(at, at + bytes, effect)?;
    }
    path.traced()
}

/// A function's instructions in their order.
struct Path {
    entry: Rule,
    rule: Rule,
    /// The next instruction; none after the last.
    at: Option<usize>,
    /// What holds at each instruction that was met.
    met: BTreeMap<usize, Rule>,
    /// Where branches go that was not met yet, and what holds there.
    branches: BTreeMap<usize, Rule>,
    /// Where other functions begin.
    left: Vec<i64>,
    end: usize,
    traced: Traced,
}

impl Path {
    fn new(instructions: &Instructions) -> Self {
        let entry = instructions.entry;
        let traced = Traced { length: 0, rows: vec![(0, entry)], targets: Vec::new() };
        let (met, branches) = (BTreeMap::new(), BTreeMap::new());
        Self { entry, rule: entry, at: Some(0), met, branches, left: Vec::new(), end: 0, traced }
    }

    fn follow(&mut self, at: usize, next: usize, effect: Effect) -> Option<()> {
        let target = |distance: i64| (at as i64).checked_add(distance);
        self.end = next;
        self.met.insert(at, self.rule);
        match effect {
            Effect::Next(rule) => self.hold(next, rule),
            Effect::Branch(distance) => self.branch(usize::try_from(target(distance)?).ok()?, next)?,
            Effect::Call(distance) => self.traced.targets.extend(distance.and_then(target)),
            Effect::Leave(distance) => {
                self.left.extend(distance.and_then(target));
                return self.leave(next);
            }
        }
        self.at = Some(next);
        self.meet(next)
    }

    /// Where branches meet, they agree.
    fn branch(&mut self, to: usize, next: usize) -> Option<()> {
        let there = if to < next { *self.met.get(&to)? } else { *self.branches.entry(to).or_insert(self.rule) };
        (there == self.rule).then_some(())
    }

    /// Goes on where a branch went to; what lies between is never executed.
    fn leave(&mut self, next: usize) -> Option<()> {
        (self.rule == self.entry).then_some(())?;
        let branch = self.branches.pop_first();
        self.at = branch.map(|(at, _)| at);
        let Some((at, rule)) = branch else { return Some(()) };
        self.hold(at, rule);
        (at >= next).then_some(())
    }

    /// What a branch came with is what holds here; none goes into the middle of an instruction.
    fn meet(&mut self, next: usize) -> Option<()> {
        let rule = self.branches.remove(&next).unwrap_or(self.rule);
        let is_passed = self.branches.first_key_value().is_some_and(|(branch, _)| *branch < next);
        (rule == self.rule && !is_passed).then_some(())
    }

    fn hold(&mut self, at: usize, rule: Rule) {
        if rule != self.rule {
            self.traced.rows.push((at as u64, rule));
            self.rule = rule;
        }
    }

    /// Jumps to its own instructions are not what was taken for leaving.
    fn traced(mut self) -> Option<Traced> {
        let within = |target: &i64| (0..self.end as i64).contains(target);
        if self.left.iter().any(within) {
            return None;
        }
        self.traced.length = self.end as u64;
        self.traced.targets.append(&mut self.left);
        Some(self.traced)
    }
}
