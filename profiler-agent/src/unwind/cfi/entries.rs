//! The entries of a section: found in one pass, and remembered by address and place alone.

use super::decoder::{Decoder, Fde};
use super::machine::Machine;
use super::pieces::MAX_SECTION_BYTES;
use super::{Bytes, NoTable};
use gimli::{BaseAddresses, UnwindSection};
use std::ops::Range;

/// Functions of a file: ten times those of the largest browser.
const MAX_ENTRIES: usize = 8 << 20;
const _: () = assert!(MAX_SECTION_BYTES <= IN_STARTUP as u64);

/// One function's entry, in 16 bytes: there are millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Address of its first instruction.
    pub(super) start: u64,
    /// Bytes of its instructions.
    pub(super) length: u32,
    /// Its offset in `.eh_frame`; with [`IN_DEBUG_FRAME`] in `.debug_frame`, with [`IN_STARTUP`] among the functions of
    /// start-up code.
    pub(super) place: u32,
}

const IN_DEBUG_FRAME: u32 = 1 << 31;
const IN_STARTUP: u32 = 1 << 30;

impl Entry {
    /// A function of start-up code.
    pub(super) fn startup(start: u64, length: u32, index: u32) -> Self {
        Self { start, length, place: index | IN_STARTUP }
    }

    /// Address after its last instruction.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.length))
    }

    /// Whether it is of start-up code, and in no section.
    pub(super) fn is_startup(&self) -> bool {
        self.place & IN_STARTUP != 0
    }

    /// The section that it lies in.
    pub(super) fn kind(&self) -> Kind {
        if self.place & IN_DEBUG_FRAME == 0 { Kind::EhFrame } else { Kind::DebugFrame }
    }

    /// Where it lies in that section, or among the functions of start-up code.
    pub(super) fn offset(&self) -> usize {
        (self.place & !(IN_DEBUG_FRAME | IN_STARTUP)) as usize
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

impl<'a, S: UnwindSection<Bytes<'a>>> Section<'a, S> {
    /// A decoder that knows nothing yet.
    pub(super) fn decoder(&'a self) -> Decoder<'a, S> {
        Decoder::new(self)
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
