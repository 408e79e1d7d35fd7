//! The sections of a file with debug info, ready to be read.

use super::budget::Budget;
use super::reader::{Pages, Reader};
use super::sections::Sections;
use super::unit::Dwarf;
use crate::process::Refusal;
use gimli::SectionId;
use std::fs::File;
use std::rc::Rc;

/// Sections that are packed and have to be held in memory, in bytes, of a file and its supplementary file.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// Sections that are read; the others are about variables and macros.
const SECTIONS: [SectionId; 10] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// Sections, and what they take.
pub(super) struct Loaded {
    pub(super) dwarf: Dwarf,
    pages: Vec<Rc<Pages>>,
    unpacked_bytes: u64,
}

impl Loaded {
    /// The sections of a file.
    ///
    /// # Errors
    /// Packed ones are too large or damaged.
    pub(super) fn new(file: File, sections: &Sections, budget: &Rc<Budget>) -> Result<Self, Refusal> {
        let unpacked_bytes = unpacked_bytes(sections);
        if unpacked_bytes > MAX_UNPACKED_BYTES {
            return Err(Refusal::TooLarge);
        }
        let copy = file.try_clone().map_err(|_| Refusal::NotFound)?;
        let pages = Pages::new(file, Rc::clone(budget));
        let load = |id: SectionId| match sections.get(id.name()).filter(|_| SECTIONS.contains(&id)) {
            None => Ok(Reader::memory(Vec::new(), sections.endian)),
            Some(section) if section.is_plain() => {
                Ok(Reader::paged(&pages, section.offset, section.bytes, sections.endian))
            }
            Some(section) => {
                let content = section.unpack(&copy, MAX_UNPACKED_BYTES)?;
                Ok(Reader::memory(content, sections.endian))
            }
        };
        let dwarf = Dwarf::load(load)?;
        Ok(Self { dwarf, pages: vec![pages], unpacked_bytes })
    }

    /// Adds the file that this one shares names with.
    ///
    /// # Errors
    /// Both together are too large.
    pub(super) fn supplement(&mut self, other: Self) -> Result<(), Refusal> {
        self.unpacked_bytes += other.unpacked_bytes;
        if self.unpacked_bytes > MAX_UNPACKED_BYTES {
            return Err(Refusal::TooLarge);
        }
        self.pages.extend(other.pages);
        self.dwarf.set_sup(other.dwarf);
        Ok(())
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.unpacked_bytes + self.pages.iter().map(|pages| pages.bytes()).sum::<u64>()
    }
}

fn unpacked_bytes(sections: &Sections) -> u64 {
    let packed = SECTIONS.iter().filter_map(|id| sections.get(id.name())).filter(|section| !section.is_plain());
    packed.fold(0, |sum, section| sum.saturating_add(section.bytes))
}
