//! The functions of a file that the loader calls at start and at exit: by section headers, or by the dynamic section.
//! Format: System V ABI, chapters 4 and 5.

use super::image::Image;
use super::layout::Sections;
use object::LittleEndian;
use object::elf::{self, ProgramHeader64, SectionHeader64};
use std::ops::Range;

/// Entries of an array looked at: crtstuff's come first but for functions with a priority.
const MAX_POINTERS: u64 = 8;
/// Bytes of relocations looked at: the arrays lie at the start of what is relocated.
const MAX_RELOCATION_BYTES: u64 = 64 << 10;
/// Bytes of the dynamic section: four times what linkers make.
const MAX_DYNAMIC_BYTES: u64 = 4 << 10;

/// `R_X86_64_RELATIVE` and `R_AARCH64_RELATIVE`.
const RELATIVE: [u64; 2] = [8, 1027];

const E: LittleEndian = LittleEndian;

/// Addresses of what the loader looks at.
#[derive(Default)]
struct Places {
    /// `_init` and `_fini`
    functions: Vec<u64>,
    /// `.init_array` and `.fini_array`
    arrays: Vec<Range<u64>>,
    /// `.rela.dyn`
    relocations: Range<u64>,
}

/// Addresses of functions.
pub(super) fn find(image: &Image<'_>, segments: &[ProgramHeader64<LittleEndian>], sections: &Sections) -> Vec<u64> {
    let places = by_sections(sections).or_else(|| by_dynamic(image, segments)).unwrap_or_default();
    let mut roots = places.functions;
    let relocations = words(image, places.relocations, MAX_RELOCATION_BYTES);
    for array in places.arrays {
        let mut at = array.start;
        for pointer in words(image, array, 8 * MAX_POINTERS) {
            roots.extend(if pointer == 0 { addend(&relocations, at) } else { Some(pointer) });
            at = at.wrapping_add(8);
        }
    }
    roots
}

/// What the loader adds to the file's own address and stores: some linkers leave the place itself 0.
fn addend(relocations: &[u64], at: u64) -> Option<u64> {
    let relocations = relocations.chunks_exact(3);
    relocations.into_iter().find(|entry| entry[0] == at && RELATIVE.contains(&entry[1])).map(|entry| entry[2])
}

fn by_sections(sections: &Sections) -> Option<Places> {
    let range = |section: &SectionHeader64<LittleEndian>| {
        let start = section.sh_addr.get(E);
        start..start.saturating_add(section.sh_size.get(E))
    };
    let find = |name: &[u8]| sections.find(name).map(range);
    let functions: Vec<u64> = [&b".init"[..], b".fini"].into_iter().filter_map(find).map(|range| range.start).collect();
    let arrays: Vec<Range<u64>> = [&b".init_array"[..], b".fini_array"].into_iter().filter_map(find).collect();
    let relocations = find(b".rela.dyn").unwrap_or_default();
    (!functions.is_empty() || !arrays.is_empty()).then_some(Places { functions, arrays, relocations })
}

fn by_dynamic(image: &Image<'_>, segments: &[ProgramHeader64<LittleEndian>]) -> Option<Places> {
    let dynamic = segments.iter().find(|segment| segment.p_type.get(E) == elf::PT_DYNAMIC)?;
    let start = dynamic.p_vaddr.get(E);
    let words = words(image, start..start.saturating_add(dynamic.p_filesz.get(E)), MAX_DYNAMIC_BYTES);
    let value = |tag: elf::DynamicTag| {
        let mut entries = words.chunks_exact(2).take_while(|entry| entry[0] != 0);
        entries.find(|entry| entry[0] as i64 == tag.0).map(|entry| entry[1])
    };
    let range =
        |(start, bytes)| Some(value(start)?).zip(value(bytes)).map(|(start, bytes)| start..start.saturating_add(bytes));
    let arrays = [(elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ), (elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ)];
    Some(Places {
        functions: [elf::DT_INIT, elf::DT_FINI].into_iter().filter_map(value).collect(),
        arrays: arrays.into_iter().filter_map(range).collect(),
        relocations: range((elf::DT_RELA, elf::DT_RELASZ)).unwrap_or_default(),
    })
}

/// Words of a range of addresses, up to a number of bytes.
fn words(image: &Image<'_>, range: Range<u64>, limit: u64) -> Vec<u64> {
    let bytes = range.end.saturating_sub(range.start).min(limit);
    let bytes = image.data(range.start, bytes).unwrap_or_default();
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}
