//! The entries of a section: found in one pass, remembered by address and place alone, decoded one by one.

use super::machine::Machine;
use super::pieces::MAX_SECTION_BYTES;
use super::program::{Effect, Format, Program, State};
use super::rows::Rows;
use super::{Bytes, NoTable};
use gimli::{BaseAddresses, CallFrameInstructionIter, CommonInformationEntry, UnwindSection};
use profiler_common::unwind::rule::Rule;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Functions of a file: ten times those of the largest browser.
const MAX_ENTRIES: usize = 8 << 20;
/// Common entries known at once. Linkers leave a handful in `.eh_frame`, and one for each object in `.debug_frame`.
const MAX_CIES: usize = 16_384;
/// How many times its section's bytes may be read again for common entries that were forgotten.
const CIE_READS: u64 = 16;

const _: () = assert!(MAX_SECTION_BYTES <= IN_DEBUG_FRAME as u64);

/// One function's entry, in 16 bytes: there are millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Address of its first instruction.
    pub(super) start: u64,
    /// Bytes of its instructions.
    pub(super) length: u32,
    /// Its offset in `.eh_frame`; with [`IN_DEBUG_FRAME`] in `.debug_frame`.
    pub(super) place: u32,
}

const IN_DEBUG_FRAME: u32 = 1 << 31;

impl Entry {
    /// Address after its last instruction.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.length))
    }

    /// The section that it lies in.
    pub(super) fn kind(&self) -> Kind {
        if self.place & IN_DEBUG_FRAME == 0 { Kind::EhFrame } else { Kind::DebugFrame }
    }

    fn offset(&self) -> usize {
        (self.place & !IN_DEBUG_FRAME) as usize
    }
}

/// Which section: they differ in how entries are told apart and in how they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `.eh_frame`
    EhFrame,
    /// `.debug_frame`
    DebugFrame,
}

/// A section.
pub(super) struct Section<'a, S> {
    /// As gimli reads it.
    pub(super) frames: S,
    /// Which one.
    pub(super) kind: Kind,
    /// Its bytes.
    pub(super) content: &'a [u8],
    /// Where it lies.
    pub(super) bases: &'a BaseAddresses,
    /// What its code runs on.
    pub(super) machine: &'static Machine,
}

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
    cies: HashMap<usize, Option<Rc<Cie<'a>>>>,
    /// Bytes of common entries that may still be read.
    budget: u64,
    remembered: Vec<State>,
}

impl<'a, S: UnwindSection<Bytes<'a>>> Section<'a, S> {
    /// A decoder that knows nothing yet.
    pub(super) fn decoder(&'a self) -> Decoder<'a, S> {
        let budget = (self.content.len() as u64).saturating_mul(CIE_READS);
        Decoder { section: self, cies: HashMap::new(), budget, remembered: Vec::new() }
    }

    /// Entries of functions that lie in the file's code, in the order of the section. One that makes no sense is left
    /// out; where the chain of entries breaks, it ends.
    pub(super) fn entries(&'a self, code: &[Range<u64>]) -> Result<Vec<Entry>, NoTable> {
        let mut decoder = self.decoder();
        let mut entries = Vec::new();
        let mark = if self.kind == Kind::DebugFrame { IN_DEBUG_FRAME } else { 0 };
        let mut at = 0;
        while let Some((end, is_function)) = self.entry_at(at) {
            if is_function && let Some(entry) = decoder.entry(at)?.and_then(|fde| clip(&fde, code)) {
                if entries.len() >= MAX_ENTRIES {
                    return Err(NoTable::TooLarge);
                }
                entries.push(Entry { place: at as u32 | mark, ..entry });
            }
            at = end;
        }
        Ok(entries)
    }

    /// Where an entry ends, and whether it is a function's.
    fn entry_at(&self, at: usize) -> Option<(usize, bool)> {
        let word = |at: usize| Some(u32::from_le_bytes(*self.content.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_le_bytes(*self.content.get(at..)?.first_chunk()?));
        let length = word(at)?;
        if length == 0 {
            // Assemblers have left zeros in `.debug_frame`; they end `.eh_frame`.
            return (self.kind == Kind::DebugFrame).then_some((at + 4, false));
        }
        let (body, length) = match length {
            0xffff_ffff => (at + 12, usize::try_from(long(at + 4)?).ok()?),
            0xffff_fff0.. => return None,
            length => (at + 4, length as usize),
        };
        let is_common = match self.kind {
            Kind::EhFrame => word(body)? == 0,
            Kind::DebugFrame if body == at + 12 => long(body)? == u64::MAX,
            Kind::DebugFrame => word(body)? == u32::MAX,
        };
        let end = body.checked_add(length).filter(|end| *end <= self.content.len())?;
        Some((end, !is_common))
    }
}

/// The part of a function that lies in code. What linkers discard begins at 0 or beyond the end.
fn clip(fde: &Fde<'_>, code: &[Range<u64>]) -> Option<Entry> {
    let start = fde.entry.initial_address();
    let code = code.iter().find(|code| start != 0 && code.contains(&start))?;
    let length = u32::try_from(fde.entry.len().min(code.end - start)).unwrap_or(u32::MAX);
    (length > 0).then_some(Entry { start, length, place: 0 })
}

/// A function's entry and what it has in common with others.
struct Fde<'a> {
    entry: gimli::FrameDescriptionEntry<Bytes<'a>>,
    cie: Rc<Cie<'a>>,
}

impl<'a, S: UnwindSection<Bytes<'a>>> Decoder<'a, S> {
    /// Tells the rows of an entry up to an address, in order.
    pub(super) fn rows(&mut self, entry: Entry, end: u64, mut tell: impl FnMut(u64, Rule)) -> Result<(), NoTable> {
        let Some(fde) = self.entry(entry.offset())? else {
            tell(entry.start, Rule::UNSUPPORTED);
            return Ok(());
        };
        if fde.entry.cie().is_signal_trampoline() {
            tell(entry.start, Rule::SIGNAL);
            return Ok(());
        }
        let Some(initial) = &fde.cie.initial else {
            tell(entry.start, Rule::UNSUPPORTED);
            return Ok(());
        };
        let Section { machine, content, .. } = *self.section;
        let rows = Rows { machine, section: content, encoding: fde.entry.cie().encoding(), ra: fde.cie.format.ra };
        self.remembered.clear();
        let mut program = Program {
            format: fde.cie.format,
            initial: Some(initial),
            remembered: &mut self.remembered,
            state: initial.clone(),
            address: entry.start,
        };
        let mut instructions = fde.entry.instructions(&self.section.frames, self.section.bases);
        let (mut row, mut changed) = (entry.start, true);
        loop {
            let effect = match instructions.next() {
                Ok(None) => break,
                Ok(Some(instruction)) => program.apply(instruction),
                Err(_) => None,
            };
            match effect {
                Some(Effect::Nothing) => {}
                Some(Effect::Changed) => changed = true,
                Some(Effect::Advanced(address)) => {
                    if changed && address > row {
                        tell(row, rows.rule(&program.state));
                        changed = false;
                    }
                    row = address;
                    if row >= end {
                        return Ok(());
                    }
                }
                None => {
                    tell(row, Rule::UNSUPPORTED);
                    return Ok(());
                }
            }
        }
        if changed {
            tell(row, rows.rule(&program.state));
        }
        Ok(())
    }

    /// The entry at an offset; none when it makes no sense.
    fn entry(&mut self, offset: usize) -> Result<Option<Fde<'a>>, NoTable> {
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
            sp: machine.sp,
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
