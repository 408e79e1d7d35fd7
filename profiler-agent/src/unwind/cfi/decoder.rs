//! Entries decoded one by one, and what they have in common.

use super::entries::{Entry, Section};
use super::program::{Column, Effect, Format, Program, State};
use super::rows::Rows;
use super::{Bytes, NoTable};
use gimli::{CallFrameInstructionIter, CommonInformationEntry, FrameDescriptionEntry, Register, UnwindSection};
use profiler_common::unwind::rule::Rule;
use std::collections::HashMap;
use std::rc::Rc;

/// Common entries known at once. Linkers leave a handful in `.eh_frame`, and one for each object in `.debug_frame`.
const MAX_CIES: usize = 16_384;
/// How many times its section's bytes may be read again for common entries that were forgotten.
const CIE_READS: u64 = 4;

/// Bytes of an entry whose columns are asked for.
const MAX_WATCHED_BYTES: usize = 16 << 10;

/// What entries have in common.
struct Cie<'a> {
    entry: CommonInformationEntry<Bytes<'a>>,
    format: Format,
    /// The row that each of its functions begins with; none when its instructions make no sense.
    initial: Option<State>,
}

/// Reads entries, and knows what they have in common.
pub(super) struct Decoder<'a, S> {
    section: &'a Section<'a, S>,
    /// The register in the column of the stack pointer: another one where that is what is asked for.
    watched: Register,
    cies: HashMap<usize, Option<Rc<Cie<'a>>>>,
    /// Bytes of common entries that may still be read.
    budget: u64,
    remembered: Vec<State>,
}

/// A function's entry and what it has in common with others.
pub(super) struct Fde<'a> {
    /// As gimli reads it.
    pub(super) entry: FrameDescriptionEntry<Bytes<'a>>,
    cie: Rc<Cie<'a>>,
}

impl<'a, S: UnwindSection<Bytes<'a>>> Decoder<'a, S> {
    /// One that knows nothing yet.
    pub(super) fn new(section: &'a Section<'a, S>) -> Self {
        Self::watching(section, section.machine.sp)
    }

    /// The same, for [`Decoder::columns`] of this register.
    pub(super) fn watching(section: &'a Section<'a, S>, watched: Register) -> Self {
        let budget = (section.content.len() as u64).saturating_mul(CIE_READS);
        Self { section, watched, cies: HashMap::new(), budget, remembered: Vec::new() }
    }

    /// Tells the rows of an entry up to an address, in order; what follows nonsense is unsupported.
    pub(super) fn rows(&mut self, entry: Entry, end: u64, mut tell: impl FnMut(u64, Rule)) -> Result<(), NoTable> {
        let Some(fde) = self.entry(entry.offset())? else {
            tell(entry.start, Rule::UNSUPPORTED);
            return Ok(());
        };
        if fde.entry.cie().is_signal_trampoline() {
            tell(entry.start, Rule::SIGNAL);
            return Ok(());
        }
        let Section { machine, content, .. } = *self.section;
        let rows = Rows { machine, section: content, encoding: fde.entry.cie().encoding(), ra: fde.cie.format.ra };
        self.run(&fde, entry.start, end, |address, state| {
            tell(address, state.map_or(Rule::UNSUPPORTED, |state| rows.rule(state)))
        });
        Ok(())
    }

    /// Where the watched register is, from each address on where that may change; none when that makes no sense.
    pub(super) fn columns(&mut self, entry: Entry) -> Option<Vec<(u64, Column)>> {
        let fde = self.entry(entry.offset()).ok()??;
        if fde.entry.entry_len() > MAX_WATCHED_BYTES || fde.entry.cie().is_signal_trampoline() {
            return None;
        }
        let (mut columns, mut makes_sense) = (Vec::new(), true);
        self.run(&fde, entry.start, entry.end(), |address, state| match state {
            Some(state) => columns.push((address, state.sp.clone())),
            None => makes_sense = false,
        });
        makes_sense.then_some(columns)
    }

    /// Tells the states of a function, in order of address; none of what follows nonsense.
    fn run(&mut self, fde: &Fde<'a>, start: u64, end: u64, mut tell: impl FnMut(u64, Option<&State>)) {
        let Some(initial) = &fde.cie.initial else { return tell(start, None) };
        self.remembered.clear();
        let program = Program {
            format: fde.cie.format,
            initial: Some(initial),
            remembered: &mut self.remembered,
            state: initial.clone(),
            address: start,
        };
        run(program, fde.entry.instructions(&self.section.frames, self.section.bases), end, tell);
    }

    /// The entry at an offset; none when it makes no sense.
    pub(super) fn entry(&mut self, offset: usize) -> Result<Option<Fde<'a>>, NoTable> {
        let section = self.section;
        let Ok(partial) = section.frames.partial_fde_from_offset(section.bases, S::Offset::from(offset)) else {
            return Ok(None);
        };
        let Some(cie) = self.cie(gimli::UnwindOffset::into(partial.cie_offset()))? else {
            return Ok(None);
        };
        let entry = partial.parse(|_, _, _| Ok(cie.entry.clone())).ok();
        Ok(entry.map(|entry| Fde { entry, cie }))
    }

    fn cie(&mut self, offset: usize) -> Result<Option<Rc<Cie<'a>>>, NoTable> {
        if let Some(cie) = self.cies.get(&offset) {
            return Ok(cie.clone());
        }
        let cie = self.read_cie(offset).map(Rc::new);
        let bytes = cie.as_ref().map_or(0, |cie| cie.entry.entry_len() as u64);
        // Each entry may name a place of its own where there is nothing.
        self.budget = self.budget.checked_sub(bytes + 16).ok_or(NoTable::TooLarge)?;
        if self.cies.len() >= MAX_CIES {
            self.cies.clear();
        }
        self.cies.insert(offset, cie.clone());
        Ok(cie)
    }

    fn read_cie(&mut self, offset: usize) -> Option<Cie<'a>> {
        let Section { frames, machine, bases, .. } = self.section;
        let entry = frames.cie_from_offset(bases, S::Offset::from(offset)).ok()?;
        let format = Format {
            sp: self.watched,
            fp: machine.fp,
            ra: entry.return_address_register(),
            code_alignment: entry.code_alignment_factor(),
            data_alignment: entry.data_alignment_factor(),
        };
        let initial = self.initial(format, entry.instructions(frames, bases));
        Some(Cie { entry, format, initial })
    }

    fn initial(&mut self, format: Format, mut instructions: CallFrameInstructionIter<'_, Bytes<'a>>) -> Option<State> {
        self.remembered.clear();
        let remembered = &mut self.remembered;
        let mut program = Program { format, initial: None, remembered, state: State::default(), address: 0 };
        while let Some(instruction) = instructions.next().ok()? {
            if let Effect::Advanced(_) = program.apply(instruction)? {
                return None;
            }
        }
        Some(program.state)
    }
}

/// Runs a function's instructions.
fn run(
    mut program: Program<'_>,
    mut instructions: CallFrameInstructionIter<'_, Bytes<'_>>,
    end: u64,
    mut tell: impl FnMut(u64, Option<&State>),
) {
    let (mut row, mut changed) = (program.address, true);
    loop {
        let effect = match instructions.next() {
            Ok(Some(instruction)) => program.apply(instruction),
            Ok(None) => break,
            Err(_) => None,
        };
        match effect {
            Some(Effect::Nothing) => {}
            Some(Effect::Changed) => changed = true,
            Some(Effect::Advanced(address)) => {
                if changed && address > row {
                    tell(row, Some(&program.state));
                    changed = false;
                }
                row = address;
                if row >= end {
                    return;
                }
            }
            None => return tell(row, None),
        }
    }
    if changed {
        tell(row, Some(&program.state));
    }
}
