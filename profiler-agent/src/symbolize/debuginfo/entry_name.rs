//! The name of a function: that of its entry, or of the entry it refers to.

use super::info::DebugInfo;
use super::unit::{Dwarf, Unit};
use gimli::{AttributeValue, UnitOffset};
use std::rc::Rc;

/// References followed: an inlined function refers to its declaration in a class, which may be in another file.
const MAX_REFERENCES: usize = 16;
/// Longest name in bytes.
const MAX_NAME_BYTES: u64 = 8192;

/// What a function is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryName {
    /// As the linker knows it: to be demangled.
    Linkage(String),
    /// As its author wrote it.
    Plain(String),
}

/// Which of the two files an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// The file itself.
    Main,
    /// The supplementary file that several share (`dwz`).
    Supplement,
}

/// What one entry says.
#[derive(Default)]
struct Said {
    linkage: Option<String>,
    plain: Option<String>,
    refers_to: Option<(Place, u64)>,
}

/// The name of the function of an entry; none when it has none, or it cannot be found.
pub(super) fn find(info: &mut DebugInfo, unit: &Rc<Unit>, entry: UnitOffset<u64>) -> gimli::Result<Option<EntryName>> {
    let (mut place, mut unit, mut entry) = (Place::Main, Rc::clone(unit), entry);
    let mut plain = None;
    for _ in 0..MAX_REFERENCES {
        let Some(dwarf) = info.dwarf(place) else { break };
        let said = read(dwarf, place, &unit, entry)?;
        if said.linkage.is_some() {
            return Ok(said.linkage.map(EntryName::Linkage));
        }
        plain = plain.or(said.plain);
        let Some((next_place, offset)) = said.refers_to else { break };
        if next_place == Place::Supplement && info.dwarf(next_place).is_none() {
            break;
        }
        if next_place != place || !(unit.offset()..unit.offset() + unit.bytes()).contains(&offset) {
            unit = info.unit_holding(next_place, offset)?;
        }
        place = next_place;
        entry = UnitOffset(offset.checked_sub(unit.offset()).ok_or(gimli::Error::NoEntryAtGivenOffset(offset))?);
    }
    Ok(plain.map(EntryName::Plain))
}

fn read(dwarf: &Dwarf, place: Place, unit: &Unit, entry: UnitOffset<u64>) -> gimli::Result<Said> {
    let mut said = Said::default();
    let mut entries = unit.inner.entries_raw(Some(entry))?;
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(said) };
    // A string that cannot be read is no name.
    let text = |value| dwarf.attr_string(&unit.inner, value).ok()?.text(MAX_NAME_BYTES).ok().filter(|n| !n.is_empty());
    for &specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(specification)?;
        match attribute.name() {
            gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => said.linkage = text(attribute.value()),
            gimli::DW_AT_name => said.plain = text(attribute.value()),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                said.refers_to = match attribute.value() {
                    AttributeValue::UnitRef(offset) => {
                        unit.offset().checked_add(offset.0).map(|offset| (place, offset))
                    }
                    AttributeValue::DebugInfoRef(offset) => Some((place, offset.0)),
                    AttributeValue::DebugInfoRefSup(offset) => Some((Place::Supplement, offset.0)),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    Ok(said)
}
