//! The addresses of an entry: one range, or a list of them.

use super::reader::Reader;
use super::unit::Dwarf;
use gimli::{AttributeValue, DwAt, RangeListsOffset};

/// Ranges of one entry.
const MAX_RANGES: usize = 1 << 20;

/// What `DW_AT_low_pc`, `DW_AT_high_pc` and `DW_AT_ranges` say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) low_pc: Option<u64>,
    high_pc: Option<u64>,
    size: Option<u64>,
    list: Option<RangeListsOffset<u64>>,
}

impl Extent {
    /// Takes an attribute in; others than those three are left alone.
    pub(super) fn read(
        &mut self,
        dwarf: &Dwarf,
        unit: &gimli::Unit<Reader>,
        name: DwAt,
        value: AttributeValue<Reader>,
    ) -> gimli::Result<()> {
        match (name, value) {
            (gimli::DW_AT_low_pc, value) => self.low_pc = dwarf.attr_address(unit, value)?,
            (gimli::DW_AT_high_pc, AttributeValue::Udata(size)) => self.size = Some(size),
            (gimli::DW_AT_high_pc, value) => self.high_pc = dwarf.attr_address(unit, value)?,
            (gimli::DW_AT_ranges, value) => self.list = dwarf.attr_ranges_offset(unit, value)?,
            _ => {}
        }
        Ok(())
    }

    /// Calls for every range `begin..end` that is not empty. Code that the linker left out begins at 0.
    pub(super) fn for_each(
        &self,
        dwarf: &Dwarf,
        unit: &gimli::Unit<Reader>,
        mut call: impl FnMut(u64, u64),
    ) -> gimli::Result<()> {
        if let Some(list) = self.list {
            let mut ranges = dwarf.ranges(unit, list)?;
            for _ in 0..MAX_RANGES {
                let Some(range) = ranges.next()? else { break };
                if range.begin > 0 && range.begin < range.end {
                    call(range.begin, range.end);
                }
            }
            return Ok(());
        }
        let end = self.low_pc.zip(self.size).and_then(|(low_pc, size)| low_pc.checked_add(size)).or(self.high_pc);
        if let (Some(begin), Some(end)) = (self.low_pc, end)
            && begin > 0
            && begin < end
        {
            call(begin, end);
        }
        Ok(())
    }

    /// Whether an address lies in it.
    pub(super) fn contains(&self, dwarf: &Dwarf, unit: &gimli::Unit<Reader>, address: u64) -> gimli::Result<bool> {
        let mut found = false;
        self.for_each(dwarf, unit, |begin, end| found |= (begin..end).contains(&address))?;
        Ok(found)
    }
}
