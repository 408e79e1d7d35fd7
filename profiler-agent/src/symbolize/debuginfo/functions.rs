//! The functions of a unit, and which of them are inlined at an address.

use super::budget::Budget;
use super::extent::Extent;
use super::ranges::Ranges;
use super::reader::Reader;
use super::unit::{Dwarf, Unit};
use gimli::{Abbreviation, AttributeValue, EntriesRaw, UnitOffset};

/// Ranges of the functions of one unit: 32 MiB.
const MAX_RANGES: usize = 1 << 20;
/// Entries between two looks at the clock.
const ENTRIES_PER_LOOK: u32 = 512;
/// Functions inlined into each other.
pub(super) const MAX_INLINED: usize = 128;

/// Where the functions of a unit are.
pub(super) struct Functions(Ranges);

/// A function at an address: where its entry is, and where it was called when it is inlined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activation {
    pub(super) entry: UnitOffset<u64>,
    /// Index into the unit's table of files.
    pub(super) call_file: Option<u64>,
    pub(super) call_line: u32,
}

/// What an entry says about its code.
#[derive(Default)]
struct Code {
    extent: Extent,
    call_file: Option<u64>,
    call_line: u32,
}

impl Functions {
    /// Looks through all entries of a unit.
    pub(super) fn read(dwarf: &Dwarf, unit: &Unit, budget: &Budget) -> gimli::Result<Self> {
        let mut ranges = Ranges::default();
        let mut entries = unit.inner.entries_raw(None)?;
        let mut clock = Clock::default();
        while !entries.is_empty() && ranges.len() < MAX_RANGES {
            clock.tick(budget)?;
            let offset = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            if abbreviation.tag() != gimli::DW_TAG_subprogram {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let code = Code::read(&mut entries, abbreviation, dwarf, unit)?;
            code.extent.for_each(dwarf, &unit.inner, |begin, end| ranges.push(begin, end, offset.0))?;
        }
        ranges.sort();
        Ok(Self(ranges))
    }

    /// Functions at an address, outermost first; empty when there is none.
    pub(super) fn at(
        &self,
        dwarf: &Dwarf,
        unit: &Unit,
        budget: &Budget,
        address: u64,
    ) -> gimli::Result<Vec<Activation>> {
        let Some(function) = self.0.find(address).next().map(UnitOffset) else { return Ok(Vec::new()) };
        let mut chain = vec![Activation { entry: function, call_file: None, call_line: 0 }];
        let mut entries = unit.inner.entries_raw(Some(function))?;
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(chain) };
        entries.skip_attributes(abbreviation.attributes())?;
        if !abbreviation.has_children() {
            return Ok(chain);
        }
        // Depth of the children of the last function that holds the address.
        let mut inside = entries.next_depth();
        let mut clock = Clock::default();
        while !entries.is_empty() && entries.next_depth() >= inside && chain.len() <= MAX_INLINED {
            clock.tick(budget)?;
            let (offset, depth) = (entries.next_offset(), entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            match abbreviation.tag() {
                gimli::DW_TAG_inlined_subroutine => {
                    let code = Code::read(&mut entries, abbreviation, dwarf, unit)?;
                    if code.extent.contains(dwarf, &unit.inner, address)? {
                        chain.push(Activation { entry: offset, call_file: code.call_file, call_line: code.call_line });
                        if !abbreviation.has_children() {
                            break;
                        }
                        inside = depth + 1;
                    } else {
                        skip_below(&mut entries, depth, &mut clock, budget)?;
                    }
                }
                // Of a local class, or nested: not part of this one's code.
                gimli::DW_TAG_subprogram => {
                    entries.skip_attributes(abbreviation.attributes())?;
                    skip_below(&mut entries, depth, &mut clock, budget)?;
                }
                _ => entries.skip_attributes(abbreviation.attributes())?,
            }
        }
        Ok(chain)
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// Passes the entries below one of this depth.
fn skip_below(
    entries: &mut EntriesRaw<'_, Reader>,
    depth: isize,
    clock: &mut Clock,
    budget: &Budget,
) -> gimli::Result<()> {
    while !entries.is_empty() && entries.next_depth() > depth {
        clock.tick(budget)?;
        if let Some(abbreviation) = entries.read_abbreviation()? {
            entries.skip_attributes(abbreviation.attributes())?;
        }
    }
    Ok(())
}

impl Code {
    fn read(
        entries: &mut EntriesRaw<'_, Reader>,
        abbreviation: &Abbreviation,
        dwarf: &Dwarf,
        unit: &Unit,
    ) -> gimli::Result<Self> {
        let mut code = Self::default();
        for &specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(specification)?;
            match (attribute.name(), attribute.value()) {
                // DWARF 5 counts files from 0; before, 0 was no file.
                (gimli::DW_AT_call_file, AttributeValue::FileIndex(file)) => {
                    code.call_file = Some(file).filter(|&file| file > 0 || unit.inner.header.version() >= 5);
                }
                (gimli::DW_AT_call_line, value) => {
                    code.call_line = value.udata_value().and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
                }
                (name, value) => code.extent.read(dwarf, &unit.inner, name, value)?,
            }
        }
        Ok(code)
    }
}

/// Looks at the budget every few entries.
#[derive(Default)]
pub(super) struct Clock(u32);

impl Clock {
    /// # Errors
    /// The budget is over.
    pub(super) fn tick(&mut self, budget: &Budget) -> gimli::Result<()> {
        self.0 += 1;
        if self.0.is_multiple_of(ENTRIES_PER_LOOK) { budget.check() } else { Ok(()) }
    }
}
