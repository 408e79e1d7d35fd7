//! Which compilation unit an address is in, and where units begin.

use super::budget::Budget;
use super::ranges::Ranges;
use super::reader::Reader;
use super::unit::{Dwarf, Unit};
use gimli::{DebugInfoOffset, UnitHeader, UnitType};
use std::collections::HashSet;

/// Units of a file; the largest browsers have a tenth.
const MAX_UNITS: usize = 1 << 19;
/// Ranges of all units of a file: 32 MiB.
const MAX_RANGES: usize = 1 << 20;

/// Found piece by piece: what `.debug_aranges` says at once, the units it leaves out when an address needs them.
#[derive(Default)]
pub(super) struct Units {
    listed: Option<Ranges>,
    /// Units in `listed`, while the others are still looked through.
    in_list: HashSet<u64>,
    walked: Ranges,
    walk: Walk,
    /// Offsets in `.debug_info`, all of them once it is walked.
    starts: Vec<u64>,
    headers: Walk,
}

/// How far the units of a file have been looked through.
#[derive(Default)]
enum Walk {
    #[default]
    NotBegun,
    At(u64),
    Done,
}

impl Walk {
    /// Offset of the next unit.
    fn next(&self) -> Option<u64> {
        match self {
            Self::NotBegun => Some(0),
            Self::At(offset) => Some(*offset),
            Self::Done => None,
        }
    }

    fn advance(&mut self, header: Option<&UnitHeader<Reader>>) {
        let end = |header: &UnitHeader<Reader>| {
            header.debug_info_offset().map_or(0, |offset| offset.0).checked_add(header.length_including_self())
        };
        *self = header.and_then(end).map_or(Self::Done, Self::At);
    }
}

impl Units {
    /// Offsets of the units whose ranges hold an address, the likeliest first.
    ///
    /// # Errors
    /// The budget is over, or the file is damaged before any unit that holds it.
    pub(super) fn find(&mut self, dwarf: &Dwarf, budget: &Budget, address: u64) -> gimli::Result<Vec<u64>> {
        if self.listed.is_none() {
            let (listed, in_list) = listed(dwarf, budget)?;
            self.listed = Some(listed);
            self.in_list = in_list;
        }
        let found: Vec<u64> = self.listed.iter().flat_map(|listed| listed.find(address)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        self.walk(dwarf, budget)?;
        Ok(self.walked.find(address).collect())
    }

    /// Looks through the units that are not listed. Out of time, it goes on from there the next time.
    fn walk(&mut self, dwarf: &Dwarf, budget: &Budget) -> gimli::Result<()> {
        while let Some(offset) = self.walk.next() {
            budget.check()?;
            let header = header(dwarf, offset);
            if budget.is_over() {
                return Err(gimli::Error::Io);
            }
            if let Some(header) = &header
                && !self.in_list.contains(&offset)
                && matches!(header.type_(), UnitType::Compilation | UnitType::Skeleton(_))
            {
                self.add(dwarf, header.clone(), offset);
                budget.check()?;
            }
            self.walk.advance(header.as_ref().filter(|_| self.walked.len() < MAX_RANGES));
            if matches!(self.walk, Walk::Done) {
                self.walked.sort();
                self.in_list = HashSet::new();
            }
        }
        Ok(())
    }

    /// A damaged unit holds no address.
    fn add(&mut self, dwarf: &Dwarf, header: UnitHeader<Reader>, offset: u64) {
        let Ok(unit) = Unit::open(dwarf, header) else { return };
        let walked = &mut self.walked;
        // What comes before the damage counts.
        let _ = unit.extent.for_each(dwarf, &unit.inner, |begin, end| {
            if walked.len() < MAX_RANGES {
                walked.push(begin, end, offset);
            }
        });
    }

    /// Offset of the unit that an offset in `.debug_info` is in.
    pub(super) fn holding(&mut self, dwarf: &Dwarf, budget: &Budget, offset: u64) -> gimli::Result<u64> {
        while let Some(start) = self.headers.next() {
            if start > offset {
                break;
            }
            budget.check()?;
            let header = header(dwarf, start);
            if header.is_some() {
                self.starts.push(start);
            }
            self.headers.advance(header.as_ref().filter(|_| self.starts.len() < MAX_UNITS));
        }
        let index = self.starts.partition_point(|&start| start <= offset);
        index.checked_sub(1).map(|index| self.starts[index]).ok_or(gimli::Error::NoEntryAtGivenOffset(offset))
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let listed = self.listed.as_ref().map_or(0, Ranges::bytes);
        listed + self.walked.bytes() + 8 * (self.starts.capacity() + 2 * self.in_list.capacity()) as u64
    }
}

/// The unit at an offset; none after the last, or when it is damaged.
fn header(dwarf: &Dwarf, offset: u64) -> Option<UnitHeader<Reader>> {
    dwarf.debug_info.header_from_offset(DebugInfoOffset(offset)).ok()
}

/// What `.debug_aranges` says. A damaged rest is left out: its units are found by walking.
fn listed(dwarf: &Dwarf, budget: &Budget) -> gimli::Result<(Ranges, HashSet<u64>)> {
    let (mut ranges, mut units) = (Ranges::default(), HashSet::new());
    let mut headers = dwarf.debug_aranges.headers();
    while let Ok(Some(header)) = headers.next() {
        budget.check()?;
        let unit = header.debug_info_offset().0;
        let mut entries = header.entries();
        while let Ok(Some(entry)) = entries.next() {
            let range = entry.range();
            if range.begin > 0 && range.begin < range.end && ranges.len() < MAX_RANGES {
                ranges.push(range.begin, range.end, unit);
                units.insert(unit);
            }
        }
    }
    budget.check()?;
    ranges.sort();
    Ok((ranges, units))
}
