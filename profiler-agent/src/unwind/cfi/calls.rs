//! Frames whose CFA is in a register that a called function saves.
//!
//! A row with [`cfa::REGISTER`] holds in the innermost frame alone: above it, the register is where some callee saved
//! it. But a frame that is not innermost is looked up at the last byte of its call instruction, where no program
//! counter ever is; so a row of that one byte can say where *this* callee saved the register. Its CFA is the stack
//! pointer of the frame that called it: what it saves at `CFA - k` is at `sp - k` there.
//!
//! `_dl_runtime_resolve` of glibc, through which programs call a library's function for the first time, is such a frame.
//!
//! That holds while the callee has saved the register, which it has before it calls anything, and none of its
//! instructions jumps to another function that would take its place: both are checked. The slot keeps its value until
//! the callee returns, for 128 bytes below the stack pointer are the function's own. What remains are the few
//! instructions of a callee, itself innermost, that come before it saves the register: there the slot holds what an
//! earlier call left on the stack. The step must still go up and find a return address in code: mostly the stack ends
//! there, as it would without the row; an address that an earlier call of the same frame left is the right one.

use super::decoder::Decoder;
use super::entries::{Entry, Kind, Section};
use super::image::Image;
use super::machine::Machine;
use super::program::Column;
use super::{Bytes, Push};
use gimli::{DebugFrame, EhFrame, Register, RegisterRule, UnwindSection};
use profiler_common::unwind::rule::{Rule, cfa, ra};
use std::collections::HashMap;
use std::ops::Range;

/// Bytes of a row that are searched for calls.
const MAX_ROW_BYTES: u64 = 8 << 10;
/// Bytes of a called function.
const MAX_CALLEE_BYTES: u32 = 16 << 10;
/// Rows searched in a file.
const MAX_ROWS: usize = 256;
/// Called functions looked at in a file.
const MAX_CALLEES: usize = 64;
/// Parts of a called function.
const MAX_PARTS: usize = 4;
/// Bytes below the stack pointer that are not written by anybody else: System V ABI, AMD64 supplement, section 3.2.2.
const RED_ZONE_BYTES: i64 = 128;

/// Calls from rows of one file.
pub(super) struct Calls<'a> {
    machine: &'static Machine,
    image: &'a Image<'a>,
    entries: &'a [Entry],
    eh_frame: Watch<'a, EhFrame<Bytes<'a>>>,
    debug_frame: Watch<'a, DebugFrame<Bytes<'a>>>,
    rows: usize,
    /// Where a function, by its address, saves a register.
    known: HashMap<(u64, u16), Option<i32>>,
}

impl<'a> Calls<'a> {
    /// Of a file whose entries are in order of address.
    pub(super) fn new(
        image: &'a Image<'a>,
        entries: &'a [Entry],
        eh_frame: &'a Section<'a, EhFrame<Bytes<'a>>>,
        debug_frame: &'a Section<'a, DebugFrame<Bytes<'a>>>,
    ) -> Self {
        let (machine, eh_frame, debug_frame) = (eh_frame.machine, Watch::new(eh_frame), Watch::new(debug_frame));
        Self { machine, image, entries, eh_frame, debug_frame, rows: 0, known: HashMap::new() }
    }

    /// Pushes the rows of calls from code under a rule, each followed by that rule again.
    pub(super) fn push(&mut self, range: Range<u64>, rule: Rule, push: &mut Push<'_>) {
        let wants_extra = matches!(rule.ra, ra::AT_CFA | ra::REGISTER);
        if rule.cfa != cfa::REGISTER || wants_extra || self.rows >= MAX_ROWS {
            return;
        }
        let Some(register) = self.machine.kept(rule.register) else { return };
        self.rows += 1;
        let bytes = range.end.saturating_sub(range.start).min(MAX_ROW_BYTES);
        let code = self.image.code(range.start, bytes).unwrap_or_default();
        for (last, target) in calls(&code, range.start) {
            if let Some(offset) = self.saved(target, register) {
                let row = Rule { cfa: cfa::SP_DEREF, register: 0, cfa_offset: offset, extra: rule.cfa_offset, ..rule };
                push(last, row);
                push(last + 1, rule);
            }
        }
    }

    /// Where a function that begins at an address saves a register, from its CFA.
    fn saved(&mut self, start: u64, register: Register) -> Option<i32> {
        let entry = self.entry(start).filter(|entry| entry.start == start)?;
        let key = (start, register.0);
        if !self.known.contains_key(&key) && self.known.len() < MAX_CALLEES {
            let saved = self.look(entry, register);
            self.known.insert(key, saved);
        }
        *self.known.get(&key)?
    }

    /// Looks at a function and at parts of it that lie elsewhere, which begin with the register saved.
    fn look(&mut self, entry: Entry, register: Register) -> Option<i32> {
        let (mut place, mut parts, mut index) = (None, vec![entry], 0);
        while let Some(&part) = parts.get(index) {
            let code = self.image.code(part.start, part.length.min(MAX_CALLEE_BYTES).into())?;
            let rows = self.columns(part, register)?;
            if code.len() as u64 != u64::from(part.length) || (index > 0) != is_saved(rows.first()) {
                return None;
            }
            check(&code, part, &rows, &mut place)?;
            for target in self.targets(&code, part.start)? {
                if !parts.iter().any(|part| (part.start..part.end()).contains(&target)) {
                    parts.push(self.entry(target).filter(|_| parts.len() < MAX_PARTS)?);
                }
            }
            index += 1;
        }
        place.filter(|offset| (-RED_ZONE_BYTES..=-16).contains(offset)).map(|offset| offset as i32)
    }

    /// The entry of an address.
    fn entry(&self, address: u64) -> Option<Entry> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        self.entries[..after].last().copied().filter(|entry| address < entry.end() && !entry.is_startup())
    }

    fn columns(&mut self, entry: Entry, register: Register) -> Option<Vec<(u64, Column)>> {
        match entry.kind() {
            Kind::EhFrame => self.eh_frame.columns(entry, register),
            Kind::DebugFrame => self.debug_frame.columns(entry, register),
        }
    }

    /// Targets outside of whatever may be a jump in some code; none where it may be one to anywhere.
    fn targets(&self, code: &[u8], start: u64) -> Option<Vec<u64>> {
        let own = start..start.saturating_add(code.len() as u64);
        let mut targets = Vec::new();
        for at in 0..code.len() {
            let far = |bytes| relative(code, start, at, bytes).filter(|target| self.image.is_code(*target));
            let target = match code[at..] {
                [0xe9, ..] => far(5),
                [0x0f, 0x80..=0x8f, ..] => far(6),
                [0xeb | 0x70..=0x7f, distance, ..] => {
                    let next = start.wrapping_add(at as u64 + 2);
                    let target = next.wrapping_add_signed(distance.cast_signed().into());
                    self.entry(target).filter(|entry| entry.start == target).map(|_| target)
                }
                // jmp *register, jmp *memory
                [0xff, operands, ..] if operands >> 3 & 7 == 4 && !ends_jump(code, start, at) => return None,
                _ => None,
            };
            targets.extend(target.filter(|target| !own.contains(target)));
        }
        Some(targets)
    }
}

fn is_saved(row: Option<&(u64, Column)>) -> bool {
    matches!(row, Some((_, Some(RegisterRule::Offset(_)))))
}

/// Whether the register is saved at one place, and nothing is called where it is not.
fn check(code: &[u8], part: Entry, rows: &[(u64, Column)], place: &mut Option<i64>) -> Option<()> {
    for (index, (start, column)) in rows.iter().enumerate() {
        let end = rows.get(index + 1).map_or(part.end(), |(next, _)| *next).min(part.end());
        let code = code.get((start - part.start) as usize..(end - part.start) as usize)?;
        match column {
            Some(RegisterRule::Offset(offset)) if place.is_none_or(|place| place == *offset) => *place = Some(*offset),
            None | Some(RegisterRule::SameValue) if !may_call(code) => {}
            _ => return None,
        }
    }
    Some(())
}

/// Last byte and target of each `call` in some code.
fn calls(code: &[u8], start: u64) -> impl Iterator<Item = (u64, u64)> {
    let is_call = |at: &usize| code[*at] == 0xe8;
    let call = move |at| Some((start.wrapping_add(at as u64 + 4), relative(code, start, at, 5)?));
    (0..code.len()).filter(is_call).filter_map(call)
}

/// Whether any bytes may be a call: `call distance`, `call *register`, `call *memory`.
fn may_call(code: &[u8]) -> bool {
    code.contains(&0xe8) || code.windows(2).any(|pair| pair[0] == 0xff && matches!(pair[1] >> 3 & 7, 2 | 3))
}

/// Whether the byte is the last of a jump within the code: half of them end like the first byte of another.
fn ends_jump(code: &[u8], start: u64, at: usize) -> bool {
    let own = start..start.saturating_add(code.len() as u64);
    let is_own = |first: usize, bytes| relative(code, start, first, bytes).is_some_and(|target| own.contains(&target));
    let near = at.checked_sub(4).is_some_and(|first| code[first] == 0xe9 && is_own(first, 5));
    near || at
        .checked_sub(5)
        .is_some_and(|first| code[first] == 0x0f && matches!(code[first + 1], 0x80..=0x8f) && is_own(first, 6))
}

/// Target of an instruction of so many bytes that ends in a distance of four.
fn relative(code: &[u8], start: u64, at: usize, bytes: usize) -> Option<u64> {
    let distance = i32::from_le_bytes(*code.get(at + bytes - 4..at + bytes)?.first_chunk()?);
    Some(start.wrapping_add((at + bytes) as u64).wrapping_add_signed(distance.into()))
}

/// Decoders of a section, one for each register that is asked for.
struct Watch<'a, S> {
    section: &'a Section<'a, S>,
    decoders: Vec<(Register, Decoder<'a, S>)>,
}

impl<'a, S: UnwindSection<Bytes<'a>>> Watch<'a, S> {
    fn new(section: &'a Section<'a, S>) -> Self {
        Self { section, decoders: Vec::new() }
    }

    fn columns(&mut self, entry: Entry, register: Register) -> Option<Vec<(u64, Column)>> {
        if !self.decoders.iter().any(|(watched, _)| *watched == register) {
            self.decoders.push((register, Decoder::watching(self.section, register)));
        }
        let decoder = self.decoders.iter_mut().find(|(watched, _)| *watched == register);
        decoder.and_then(|(_, decoder)| decoder.columns(entry))
    }
}
