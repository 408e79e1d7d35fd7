//! Unwind rows from the sizes of Go's frames.
//!
//! x86_64: the caller's stack pointer is `sp + delta + 8`; a frame begins by pushing the frame pointer, so that it lies
//! at `CFA - 16`. aarch64: the caller's stack pointer is `sp + delta`; the link register lies at `sp` and the frame
//! pointer below it, at `sp - 8`; without a frame the link register is where the call left it.

use super::image::Machine;
use super::pclntab::{Function, Pclntab};
use super::special::{Special, Specials};
use super::values::Values;
use super::{MAX_TABLE_BYTES, Unusable};
use profiler_common::unwind::Rule;
use profiler_common::unwind::rule::{cfa, fp, ra};
use std::fs::File;
use std::ops::Range;

/// Rows of a file at most: twenty times those of the largest.
const MAX_ROWS: u64 = 32 << 20;
/// No frame is larger.
pub(super) const MAX_FRAME_BYTES: i32 = 1 << 30;

/// What the rows of a Go program are made from.
pub struct Frames {
    table: Pclntab,
    /// The table of functions and their records.
    records: Vec<u8>,
    /// Tables of values.
    values: Vec<u8>,
    specials: Specials,
    text: Range<u64>,
}

impl Frames {
    /// Reads the parts of the table that rows come from.
    pub fn load(table: &Pclntab, file: &File) -> Result<Self, Unusable> {
        let records = table.records.load(file, MAX_TABLE_BYTES)?;
        let values = table.values.load(file, MAX_TABLE_BYTES.saturating_sub(table.records.bytes))?;
        let specials = Specials::none();
        let mut frames = Self { table: table.clone(), records, values, specials, text: 0..0 };
        let entry = |number| frames.entry(number).map(|(address, _)| address).ok_or(Unusable::Malformed);
        let (start, end) = (entry(0)?, entry(table.functions)?);
        let segment = table.image.text_segment(start).ok_or(Unusable::NoTextStart)?;
        frames.text = start..end.clamp(start, segment.end);
        let functions = (0..table.functions).filter_map(|number| {
            let (function, end) = frames.function(number)?;
            Some((number, function, end))
        });
        frames.specials = Specials::collect(table, file, functions, |function| frames.sizes(function).collect());
        Ok(frames)
    }

    /// Addresses of Go's text. What lies outside is not Go's: C, and stubs that linkers make.
    #[must_use]
    pub fn text(&self) -> Range<u64> {
        self.text.clone()
    }

    /// The rows in order of address, function by function. The last is at the end of the text and has no rule.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows { frames: self, number: 0, last: self.text.start, pending: Vec::new().into_iter(), left: MAX_ROWS }
    }

    fn entry(&self, number: u64) -> Option<(u64, u64)> {
        let place = self.table.entry_place(number);
        let place = usize::try_from(place.start).ok()?..usize::try_from(place.end).ok()?;
        self.table.parse_entry(self.records.get(place)?)
    }

    /// A function and where the next one begins.
    fn function(&self, number: u64) -> Option<(Function, u64)> {
        let (entry, record) = self.entry(number)?;
        let end = self.entry(number + 1)?.0.min(self.text.end);
        let bytes = self.records.get(usize::try_from(record).ok()?..)?;
        let function = self.table.parse_record(bytes, entry, record)?;
        (self.text.start <= entry && entry < end).then_some((function, end))
    }

    /// Sizes of a function's frame, and where each ends.
    fn sizes(&self, function: &Function) -> impl Iterator<Item = (i32, u64)> + use<'_> {
        let at = Some(function.stack as usize).filter(|at| *at != 0).unwrap_or(usize::MAX);
        Values::new(self.values.get(at..).unwrap_or_default(), self.table.quantum)
    }

    fn function_rows(&self, number: u64) -> Option<Vec<(u64, Rule)>> {
        let (function, end) = self.function(number)?;
        let special = self.specials.get(number);
        if let Some(Special::Whole(rule)) = special {
            return Some(vec![(function.entry, *rule)]);
        }
        let mut rows = Vec::new();
        let mut start = function.entry;
        for (delta, distance) in self.sizes(&function) {
            let next = function.entry.saturating_add(distance);
            self.push(&mut rows, start..next, delta, special);
            start = next;
            if start >= end {
                break;
            }
        }
        if let Some(Special::From(later)) = special {
            rows.retain(|(address, _)| later.first().is_none_or(|(first, _)| address < first));
            rows.extend(later);
        } else if start < end {
            rows.push((start, Rule::NONE));
        }
        Some(rows)
    }

    /// The rows of a range with one size of frame.
    fn push(&self, rows: &mut Vec<(u64, Rule)>, range: Range<u64>, delta: i32, special: Option<&Special>) {
        let machine = self.table.machine;
        if delta == -8 && machine == Machine::X86_64 {
            rows.push((range.start, RETURN_IN_R12));
            return;
        }
        if !(0..MAX_FRAME_BYTES).contains(&delta) {
            rows.push((range.start, Rule::UNSUPPORTED));
            return;
        }
        match special {
            Some(Special::Switch { from, size }) if delta > 0 => {
                if range.start < *from {
                    rows.push((range.start, before_frame_pointer(machine, delta)));
                }
                if range.end > *from {
                    let rule = Rule { cfa: cfa::FP_SWITCH, cfa_offset: *size, ..Rule::NONE };
                    rows.push((range.start.max(*from), rule));
                }
            }
            Some(Special::Stored { delta: stored, fp_offset }) if delta >= *stored => {
                rows.push((range.start, Rule { fp: fp::AT_CFA, fp_offset: *fp_offset, ..stored_base(machine, delta) }));
            }
            Some(Special::Stored { .. }) => rows.push((range.start, before_store(machine, delta))),
            _ => rows.push((range.start, usual(machine, delta))),
        }
    }
}

/// `syscall.rawVforkSyscall` takes its return address off the stack, which the child is about to share.
const RETURN_IN_R12: Rule = Rule { cfa: cfa::SP, ra: ra::REGISTER, extra: 3, ..Rule::NONE };

/// The rule of a frame that the assembler opened.
fn usual(machine: Machine, delta: i32) -> Rule {
    match machine {
        Machine::X86_64 => {
            let rule = before_store(machine, delta);
            if delta > 0 { Rule { fp: fp::AT_CFA, fp_offset: -16, ..rule } } else { rule }
        }
        Machine::Aarch64 if delta == 0 => before_store(machine, 0),
        Machine::Aarch64 => {
            let rule = Rule { cfa: cfa::SP, cfa_offset: delta, ..Rule::NONE };
            Rule { fp: fp::AT_CFA, ra: ra::ABOVE_FP, fp_offset: -delta - 8, ..rule }
        }
    }
}

/// The frame pointer is still the caller's; on aarch64 the link register too.
fn before_store(machine: Machine, delta: i32) -> Rule {
    match machine {
        Machine::X86_64 => Rule { cfa: cfa::SP, cfa_offset: delta + 8, ..Rule::NONE },
        Machine::Aarch64 => Rule { cfa: cfa::SP, cfa_offset: delta, ra: ra::LINK, ..Rule::NONE },
    }
}

/// The frame is open; the frame pointer is still the caller's.
fn before_frame_pointer(machine: Machine, delta: i32) -> Rule {
    match machine {
        Machine::X86_64 => before_store(machine, delta),
        Machine::Aarch64 => Rule { cfa: cfa::SP, cfa_offset: delta, ra: ra::AT_CFA, extra: -delta, ..Rule::NONE },
    }
}

/// Where the return address is, once the frame pointer is stored: on aarch64 above it.
fn stored_base(machine: Machine, delta: i32) -> Rule {
    match machine {
        Machine::X86_64 => before_store(machine, delta),
        Machine::Aarch64 => Rule { ra: ra::ABOVE_FP, ..before_store(machine, delta) },
    }
}

/// Rows in order of address.
pub struct Rows<'a> {
    frames: &'a Frames,
    /// The next function.
    number: u64,
    /// Address of the last row.
    last: u64,
    pending: std::vec::IntoIter<(u64, Rule)>,
    left: u64,
}

impl Iterator for Rows<'_> {
    type Item = (u64, Rule);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((address, rule)) = self.pending.next() {
                if address < self.last || address >= self.frames.text.end {
                    continue;
                }
                self.last = address;
                self.left = self.left.saturating_sub(1);
                return Some((address, rule));
            }
            if self.number > self.frames.table.functions {
                return None;
            }
            let rest = self.number == self.frames.table.functions || self.left == 0;
            self.pending = if rest {
                self.number = self.frames.table.functions;
                Vec::new().into_iter()
            } else {
                self.frames.function_rows(self.number).unwrap_or_default().into_iter()
            };
            self.number += 1;
            if rest {
                return Some((self.frames.text.end, Rule::NONE));
            }
        }
    }
}
