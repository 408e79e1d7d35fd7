//! The head of a compilation unit: its abbreviations and what its first entry says.

use super::extent::Extent;
use super::reader::Reader;
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugAddrBase, DebugLineOffset, DebugLocListsBase,
    DebugRngListsBase, DebugStrOffsetsBase, DwLang, DwarfFileType, Reader as _, Section as _, UnitHeader, UnitType,
};
use std::sync::Arc;

/// Abbreviations of one unit in bytes; a hostile table takes forty times that in memory.
const MAX_ABBREVIATION_BYTES: u64 = 256 << 10;

/// The sections of a file with debug info.
pub(super) type Dwarf = gimli::Dwarf<Reader>;

/// An opened unit.
pub(super) struct Unit {
    /// Without its line program, which not everyone needs.
    pub(super) inner: gimli::Unit<Reader>,
    /// Where its line program is.
    pub(super) lines_at: Option<DebugLineOffset<u64>>,
    /// Where its code is.
    pub(super) extent: Extent,
    /// Whether `DW_AT_name` leaves out the scope: a mangled name says more.
    pub(super) has_scopes: bool,
    /// Whether the functions are in another file (`.dwo`).
    pub(super) is_split: bool,
}

impl Unit {
    /// Reads the abbreviations and the first entry. Not by gimli's own constructor, which reads the whole table of
    /// source files as well.
    pub(super) fn open(dwarf: &Dwarf, header: UnitHeader<Reader>) -> gimli::Result<Self> {
        let abbreviations = abbreviations(dwarf, header.debug_abbrev_offset())?;
        let encoding = header.encoding();
        let dwo_id = match header.type_() {
            UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id),
            _ => None,
        };
        let mut unit = Self {
            inner: gimli::Unit {
                abbreviations,
                name: None,
                comp_dir: None,
                low_pc: 0,
                str_offsets_base: DebugStrOffsetsBase::default_for_encoding_and_file(encoding, DwarfFileType::Main),
                addr_base: DebugAddrBase(0),
                loclists_base: DebugLocListsBase::default_for_encoding_and_file(encoding, DwarfFileType::Main),
                rnglists_base: DebugRngListsBase::default_for_encoding_and_file(encoding, DwarfFileType::Main),
                line_program: None,
                dwo_id,
                header,
            },
            lines_at: None,
            extent: Extent::default(),
            has_scopes: false,
            is_split: false,
        };
        unit.read_root(dwarf)?;
        Ok(unit)
    }

    fn read_root(&mut self, dwarf: &Dwarf) -> gimli::Result<()> {
        let abbreviations = Arc::clone(&self.inner.abbreviations);
        let mut entries = self.inner.header.entries_raw(&abbreviations, None)?;
        let Some(root) = entries.read_abbreviation()? else { return Ok(()) };
        let mut later = Vec::new();
        for &specification in root.attributes() {
            let attribute = entries.read_attribute(specification)?;
            self.read_base(attribute.name(), attribute.value());
            // Bases of indexed values may come after the values.
            if is_root_attribute(attribute.name()) {
                later.push((attribute.name(), attribute.value()));
            }
        }
        for (name, value) in later {
            match name {
                gimli::DW_AT_name => self.inner.name = dwarf.attr_string(&self.inner, value).ok(),
                gimli::DW_AT_comp_dir => self.inner.comp_dir = dwarf.attr_string(&self.inner, value).ok(),
                _ => self.extent.read(dwarf, &self.inner, name, value)?,
            }
        }
        self.inner.low_pc = self.extent.low_pc.unwrap_or(0);
        self.is_split = self.inner.dwo_id.is_some();
        Ok(())
    }

    fn read_base(&mut self, name: gimli::DwAt, value: AttributeValue<Reader>) {
        match (name, value) {
            (gimli::DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) => self.lines_at = Some(offset),
            (_, AttributeValue::DebugStrOffsetsBase(base)) => self.inner.str_offsets_base = base,
            (_, AttributeValue::DebugAddrBase(base)) => self.inner.addr_base = base,
            (_, AttributeValue::DebugRngListsBase(base)) => self.inner.rnglists_base = base,
            (_, AttributeValue::DwoId(id)) => self.inner.dwo_id = Some(id),
            (_, AttributeValue::Language(language)) => self.has_scopes = has_scopes(language),
            _ => {}
        }
    }

    /// Offset in `.debug_info`.
    pub(super) fn offset(&self) -> u64 {
        self.inner.header.debug_info_offset().map_or(0, |offset| offset.0)
    }

    /// Length in `.debug_info`.
    pub(super) fn bytes(&self) -> u64 {
        self.inner.header.length_including_self()
    }
}

fn is_root_attribute(name: gimli::DwAt) -> bool {
    matches!(
        name,
        gimli::DW_AT_name | gimli::DW_AT_comp_dir | gimli::DW_AT_low_pc | gimli::DW_AT_high_pc | gimli::DW_AT_ranges
    )
}

fn abbreviations(dwarf: &Dwarf, offset: DebugAbbrevOffset<u64>) -> gimli::Result<Arc<Abbreviations>> {
    let mut table = dwarf.debug_abbrev.reader().clone();
    table.skip(offset.0)?;
    table.truncate(table.len().min(MAX_ABBREVIATION_BYTES))?;
    DebugAbbrev::from(table).abbreviations(DebugAbbrevOffset(0)).map(Arc::new)
}

fn has_scopes(language: DwLang) -> bool {
    matches!(
        language,
        gimli::DW_LANG_C_plus_plus
            | gimli::DW_LANG_C_plus_plus_03
            | gimli::DW_LANG_C_plus_plus_11
            | gimli::DW_LANG_C_plus_plus_14
            | gimli::DW_LANG_C_plus_plus_17
            | gimli::DW_LANG_C_plus_plus_20
            | gimli::DW_LANG_ObjC_plus_plus
            | gimli::DW_LANG_Rust
            | gimli::DW_LANG_D
            | gimli::DW_LANG_Swift
    )
}
