//! The linker's description of the module: where the text begins and what functions' data is relative to.
//!
//! It is found by its first words, the address of the table and that of its names. Format: `moduledata` of Go's
//! `runtime/symtab.go`. Position-independent programs may have these words in relocations instead.

use super::image::{Image, Machine, Region};
use super::pclntab::{Header, Version};
use std::fs::File;

/// Bytes looked through for the description.
const MAX_SCAN_BYTES: u64 = 256 << 20;
/// Bytes of relocations looked through.
const MAX_RELOCATION_BYTES: u64 = 256 << 20;
/// Bytes read at a time: a multiple of the sizes of words and relocations.
const PIECE_BYTES: usize = 24 << 15;
/// Words of the description that are read.
const WORDS: usize = 42;
const TEXT: usize = 22;
const TEXT_END: usize = 23;

/// What is known of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// Address of the first function.
    pub(super) text: u64,
    /// Address of `go:func.*`; none in Go 1.16, which does not need it.
    pub(super) data: Option<u64>,
}

/// Index of `gofunc`. Go 1.20 put the counters of coverage before it.
fn data_index(version: Version) -> Option<usize> {
    match version {
        Version::Go116 => None,
        Version::Go118 => Some(38),
        Version::Go120 => Some(40),
    }
}

/// Looks for the description of a table's module.
pub(super) fn find(file: &File, image: &Image, header: &Header, table: Region) -> Option<Module> {
    let address = image.address(table.offset)?;
    let first = [address, address.checked_add(header.names())?];
    let mut relocations = None;
    let words = scan(file, image, first).and_then(|place| read(file, place)).or_else(|| {
        relocations = Relocations::find(file, image);
        relocations.and_then(|relocations| relocations.words(file, first))
    })?;
    let module = Module { text: words[TEXT], data: data_index(header.version).map(|index| words[index]) };
    let sound = image.region(module.text).is_some() && words[TEXT_END] > module.text;
    sound.then_some(module)
}

fn read(file: &File, place: Region) -> Option<[u64; WORDS]> {
    let mut bytes = [0; 8 * WORDS];
    place.read(file, 0, &mut bytes).filter(|bytes| bytes.len() == 8 * WORDS)?;
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}

/// Where two words lie next to each other in data.
fn scan(file: &File, image: &Image, words: [u64; 2]) -> Option<Region> {
    let mut left = MAX_SCAN_BYTES;
    let needle = words.map(u64::to_le_bytes).concat();
    let mut piece = vec![0; PIECE_BYTES];
    for segment in image.segments.iter().filter(|segment| segment.writable) {
        let mut at = 0;
        while at < segment.region.bytes && left > 0 {
            let bytes = segment.region.read(file, at, &mut piece)?;
            let found = (0..bytes.len()).step_by(8).find(|&start| bytes[start..].starts_with(&needle));
            if let Some(start) = found {
                let inside = at + start as u64;
                let offset = segment.region.offset.checked_add(inside)?;
                return Some(Region { offset, bytes: segment.region.bytes - inside });
            }
            // The two words may lie across the border of pieces.
            at += PIECE_BYTES as u64 - 8;
            left = left.saturating_sub(PIECE_BYTES as u64);
        }
    }
    None
}

/// The table of relocations with addends.
#[derive(Clone, Copy)]
struct Relocations {
    table: Region,
    /// Type of relocations that add the load address.
    relative: u32,
}

impl Relocations {
    fn find(file: &File, image: &Image) -> Option<Self> {
        const DT_RELA: u64 = 7;
        const DT_RELASZ: u64 = 8;
        let dynamic = image.dynamic?.load(file, 1 << 20).ok()?;
        let value = |tag: u64| {
            dynamic
                .chunks_exact(16)
                .find(|entry| entry[..8] == tag.to_le_bytes())
                .and_then(|entry| Some(u64::from_le_bytes(entry[8..].try_into().ok()?)))
        };
        let region = image.region(value(DT_RELA)?)?;
        let bytes = value(DT_RELASZ)?.min(region.bytes).min(MAX_RELOCATION_BYTES);
        let relative = match image.machine {
            Machine::X86_64 => 8,
            Machine::Aarch64 => 1027,
        };
        Some(Self { table: Region { bytes, ..region }, relative })
    }

    /// Visits address and addend of each relocation until it returns something.
    fn visit<T>(self, file: &File, mut visit: impl FnMut(u64, u64) -> Option<T>) -> Option<T> {
        let mut piece = vec![0; PIECE_BYTES];
        for at in (0..self.table.bytes).step_by(PIECE_BYTES) {
            for entry in self.table.read(file, at, &mut piece)?.chunks_exact(24) {
                let word = |index: usize| entry[8 * index..].first_chunk().copied().map_or(0, u64::from_le_bytes);
                if word(1) as u32 == self.relative
                    && let Some(found) = visit(word(0), word(2))
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The words that relocation puts where it puts these two next to each other.
    fn words(self, file: &File, first: [u64; 2]) -> Option<[u64; WORDS]> {
        let mut last = None;
        let start = self.visit(file, |address, addend| {
            let found = last == address.checked_sub(8) && addend == first[1];
            last = (addend == first[0]).then_some(address);
            found.then(|| address - 8)
        })?;
        let mut words = [0; WORDS];
        self.visit(file, |address, addend| {
            let index = address.checked_sub(start)? / 8;
            if let Some(word) = words.get_mut(usize::try_from(index).ok()?) {
                *word = addend;
            }
            None::<()>
        });
        Some(words)
    }
}
