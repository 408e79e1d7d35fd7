//! The runtime's own table of functions: header, search by address, and one function's record.
//!
//! Format: `pcHeader`, `functab` and `_func` of Go's `runtime/symtab.go` and `runtime/runtime2.go`.

use super::image::{Image, Machine, Region};
use super::values::Values;
use super::{Unusable, build_info, locate, module};
use std::fs::File;

/// Functions of a program: ten times those of the largest.
const MAX_FUNCTIONS: u64 = 8 << 20;
/// Bytes of a function's table of values that are looked through; all but a few have less than 512.
const VALUE_PIECES: [usize; 3] = [512, 8 << 10, 256 << 10];
/// Entries of the table of functions that are read at a time.
const BLOCK_ENTRIES: u64 = 128;
/// Index of the table that says which inlined call an instruction belongs to.
pub(super) const INLINED: u32 = 2;
/// Index of the list of a function's inlined calls.
const INLINED_CALLS: u32 = 3;
/// No such list.
const NO_DATA: u32 = u32::MAX;

/// Layouts of the table, by the first Go release that writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.16 and 1.17.
    Go116,
    /// 1.18 and 1.19: addresses are relative.
    Go118,
    /// 1.20 and later: functions know the line that they start at.
    Go120,
}

impl Version {
    fn of(magic: u32) -> Option<Self> {
        match magic {
            0xffff_fffa => Some(Self::Go116),
            0xffff_fff0 => Some(Self::Go118),
            0xffff_fff1 => Some(Self::Go120),
            _ => None,
        }
    }

    /// Bytes of an entry of the table of functions: address and place of the record.
    fn entry_bytes(self) -> u64 {
        if self == Self::Go116 { 16 } else { 8 }
    }

    /// Bytes of a record before its lists.
    fn record_bytes(self) -> usize {
        if self == Self::Go118 { 40 } else { 44 }
    }
}

/// The table's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) version: Version,
    quantum: u8,
    functions: u64,
    /// 0 where the linker leaves it to the module data.
    pub(super) text: u64,
    /// Where names, units, files, values and functions begin, from the header's start.
    parts: [u64; 5],
}

impl Header {
    /// Whether a header may start with these bytes.
    pub(super) fn may_start(bytes: &[u8]) -> bool {
        matches!(bytes, [0xfa | 0xf0 | 0xf1, 0xff, 0xff, 0xff, 0, 0, 1 | 4, 8, ..])
    }

    /// The header of a table, checked: its parts ascend and lie inside, and so do its functions.
    pub(super) fn read(file: &File, region: Region) -> Option<Self> {
        let mut bytes = [0; 72];
        region.read(file, 0, &mut bytes)?;
        let word = |index: usize| bytes.get(8 * index..)?.first_chunk().copied().map(u64::from_le_bytes);
        let version = Version::of(word(0)? as u32).filter(|_| Self::may_start(&bytes))?;
        let has_text = version != Version::Go116;
        let first = if has_text { 4 } else { 3 };
        let mut parts = [0; 5];
        for (index, part) in parts.iter_mut().enumerate() {
            *part = word(first + index)?;
        }
        let functions = word(1)?;
        let text = if has_text { word(3)? } else { 0 };
        let end = parts[4].checked_add((functions.checked_add(1)?).checked_mul(version.entry_bytes())?)?;
        let header = Self { version, quantum: bytes[6], functions, text, parts };
        let sound =
            (1..MAX_FUNCTIONS).contains(&functions) && parts[0] >= 64 && parts.is_sorted() && end <= region.bytes;
        sound.then_some(header)
    }

    /// Where a part of the table lies; the last goes to the end of the region.
    fn part(&self, region: Region, index: usize) -> Region {
        let start = self.parts[index];
        let end = self.parts.get(index + 1).copied().unwrap_or(region.bytes);
        Region { offset: region.offset.saturating_add(start), bytes: end - start }
    }

    /// Where the names begin, from the header's start.
    pub(super) fn names(&self) -> u64 {
        self.parts[0]
    }
}

/// The table of one file. It holds places only; what is looked up is read when it is.
#[derive(Clone, Debug)]
pub struct Pclntab {
    pub(super) version: Version,
    pub(super) machine: Machine,
    pub(super) quantum: u64,
    pub(super) functions: u64,
    /// Address that relative addresses count from.
    pub(super) text: u64,
    pub(super) names: Region,
    pub(super) units: Region,
    pub(super) files: Region,
    pub(super) values: Region,
    /// The table of functions, then their records.
    pub(super) records: Region,
    /// What lists of functions' data are relative to.
    pub(super) data: Option<Region>,
    pub(super) image: Image,
}

/// What the table says about a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Address of its first instruction.
    pub(super) entry: u64,
    /// Place of its record.
    pub(super) record: u64,
    pub(super) name: u32,
    pub(super) stack: u32,
    pub(super) file: u32,
    pub(super) line: u32,
    pub(super) unit: u32,
    /// 0 where the table does not say.
    pub(super) start_line: u32,
    /// One of `FuncID`; their numbers change from release to release, but not that of "nothing special": 0.
    pub(super) id: u8,
    /// Of `FuncFlag`; 0 in Go 1.16.
    pub(super) flags: u8,
    value_tables: u32,
    data_lists: u8,
}

impl Pclntab {
    /// Finds the table of a Go program; none in other files.
    pub fn open(file: &File) -> Result<Option<Self>, Unusable> {
        let Some(image) = Image::read(file)? else { return Ok(None) };
        let Some((header, region)) = locate::locate(file, &image) else { return Ok(None) };
        let module = module::find(file, &image, &header, region);
        let text = match header.version {
            Version::Go116 => 0,
            _ => module
                .map(|module| module.text)
                .or(Some(header.text).filter(|text| *text > 0))
                .or(image.text)
                .ok_or(Unusable::NoTextStart)?,
        };
        let table = Self {
            version: header.version,
            machine: image.machine,
            quantum: u64::from(header.quantum),
            functions: header.functions,
            text,
            names: header.part(region, 0),
            units: header.part(region, 1),
            files: header.part(region, 2),
            values: header.part(region, 3),
            records: header.part(region, 4),
            data: module.and_then(|module| image.region(module.data?)),
            image,
        };
        // Addresses that relocation has yet to fill in, or nonsense.
        let start = table.entry(file, 0).ok_or(Unusable::Malformed)?.0;
        table.image.text_segment(start).ok_or(Unusable::NoTextStart)?;
        Ok(Some(table))
    }

    /// Layout of the table.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The release that the program says it was built with, such as `go1.24.4`.
    pub(crate) fn release(&self, file: &File) -> Option<String> {
        build_info::release(file, &self.image)
    }

    /// Functions in the table.
    #[must_use]
    pub fn functions(&self) -> u64 {
        self.functions
    }

    /// Address and record of a function by number; the one after the last has the end of the text.
    fn entry(&self, file: &File, number: u64) -> Option<(u64, u64)> {
        let size = self.version.entry_bytes();
        let mut bytes = [0; 16];
        let at = number.checked_mul(size)?;
        let bytes = self.records.read(file, at, &mut bytes)?;
        self.parse_entry(bytes)
    }

    /// The same from the entry's bytes.
    pub(super) fn parse_entry(&self, bytes: &[u8]) -> Option<(u64, u64)> {
        if self.version == Version::Go116 {
            let word = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes);
            return Some((word(0)?, word(8)?));
        }
        let word = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
        Some((self.text.checked_add(u64::from(word(0)?))?, u64::from(word(4)?)))
    }

    /// Place and size of an entry of the table of functions.
    pub(super) fn entry_place(&self, number: u64) -> std::ops::Range<u64> {
        let size = self.version.entry_bytes();
        number * size..(number + 1) * size
    }

    /// The function with an address.
    pub(super) fn find(&self, file: &File, address: u64) -> Option<Function> {
        let (mut low, mut high) = (0, self.functions);
        if address < self.entry(file, 0)?.0 || address >= self.entry(file, high)?.0 {
            return None;
        }
        while high - low > BLOCK_ENTRIES {
            let middle = low + (high - low) / 2;
            if self.entry(file, middle)?.0 <= address {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut block = [0; 16 * BLOCK_ENTRIES as usize];
        let block = self.records.read(file, self.entry_place(low).start, &mut block)?;
        let entries = block.chunks_exact(self.version.entry_bytes() as usize).take((high - low) as usize);
        let below = entries.map_while(|entry| self.parse_entry(entry)).take_while(|(entry, _)| *entry <= address);
        let (entry, record) = below.last()?;
        let mut bytes = [0; 44];
        let bytes = self.records.read(file, record, &mut bytes)?;
        self.parse_record(bytes, entry, record)
    }

    /// A function's record.
    pub(super) fn parse_record(&self, bytes: &[u8], entry: u64, record: u64) -> Option<Function> {
        let size = self.version.record_bytes();
        let bytes = bytes.get(..size)?;
        // The address comes first: 8 bytes in Go 1.16, then 4.
        let first = if self.version == Version::Go116 { 8 } else { 4 };
        let word = |index: usize| bytes.get(first + 4 * index..)?.first_chunk().copied().map(u32::from_le_bytes);
        Some(Function {
            entry,
            record,
            name: word(0)?,
            stack: word(3)?,
            file: word(4)?,
            line: word(5)?,
            value_tables: word(6)?,
            unit: word(7)?,
            start_line: if self.version == Version::Go120 { word(8)? } else { 0 },
            id: bytes[size - 4],
            flags: bytes[size - 3],
            data_lists: bytes[size - 1],
        })
    }

    /// The value that one of a function's tables has for an address of the function.
    pub(super) fn value(&self, file: &File, table: u32, distance: u64) -> Option<i32> {
        if table == 0 {
            return None;
        }
        for size in VALUE_PIECES {
            let mut piece = vec![0; size];
            let bytes = self.values.read(file, u64::from(table), &mut piece)?;
            let mut values = Values::new(bytes, self.quantum);
            let found = values.by_ref().find(|(_, end)| distance < *end);
            if found.is_some() || !values.cut {
                return found.map(|(value, _)| value);
            }
        }
        None
    }

    /// Place of one of a function's further tables of values; none when it has no such table.
    pub(super) fn value_table(&self, file: &File, function: &Function, index: u32) -> Option<u32> {
        if index >= function.value_tables {
            return None;
        }
        let lists = function.record + self.version.record_bytes() as u64;
        self.records.u32(file, lists + 4 * u64::from(index)).filter(|table| *table != 0)
    }

    /// Where the list of a function's inlined calls lies.
    pub(super) fn inlined_calls(&self, file: &File, function: &Function) -> Option<Region> {
        if INLINED_CALLS >= u32::from(function.data_lists) {
            return None;
        }
        let lists = function.record + self.version.record_bytes() as u64 + 4 * u64::from(function.value_tables);
        if self.version == Version::Go116 {
            let mut bytes = [0; 8];
            let at = lists.next_multiple_of(8) + 8 * u64::from(INLINED_CALLS);
            self.records.read(file, at, &mut bytes).filter(|bytes| bytes.len() == 8)?;
            return self.image.region(u64::from_le_bytes(bytes));
        }
        let at = self.records.u32(file, lists + 4 * u64::from(INLINED_CALLS)).filter(|at| *at != NO_DATA)?;
        let data = self.data?;
        let bytes = data.bytes.checked_sub(u64::from(at))?;
        Some(Region { offset: data.offset.checked_add(u64::from(at))?, bytes })
    }

    /// Code at an address.
    pub(super) fn code(&self, address: u64) -> Option<Region> {
        self.image.region(address)
    }
}
