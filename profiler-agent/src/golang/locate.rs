//! Where the table lies: in a section of its own, or somewhere in a segment when the section headers are gone or the
//! linker merged it into another section.

use super::image::{Image, Region};
use super::pclntab::Header;
use std::fs::File;

/// Bytes looked through for a table without a section: more than any Go program has.
const MAX_SCAN_BYTES: u64 = 1 << 30;
/// Bytes read at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// The linker aligns the table at least so.
const ALIGNMENT: usize = 8;

/// The table's header and where the table lies; the region may go on beyond the table's end.
pub(super) fn locate(file: &File, image: &Image) -> Option<(Header, Region)> {
    if image.foreign {
        return None;
    }
    let in_section = image.table.and_then(|region| Some((Header::read(file, region)?, region)));
    in_section.or_else(|| scan(file, image))
}

/// Read-only segments come first: only old position-independent programs have the table among their data.
fn scan(file: &File, image: &Image) -> Option<(Header, Region)> {
    let mut left = MAX_SCAN_BYTES;
    let mut segments: Vec<_> = image.segments.iter().collect();
    segments.sort_by_key(|segment| (segment.writable, segment.executable));
    segments.into_iter().find_map(|segment| scan_region(file, segment.region, &mut left))
}

fn scan_region(file: &File, region: Region, left: &mut u64) -> Option<(Header, Region)> {
    let mut piece = vec![0; PIECE_BYTES.min(region.bytes) as usize];
    let mut at = 0;
    while at < region.bytes && *left > 0 {
        let bytes = region.read(file, at, &mut piece)?;
        let places = bytes.chunks_exact(ALIGNMENT).enumerate();
        for (number, _) in places.filter(|(_, start)| Header::may_start(start)) {
            let inside = at + (number * ALIGNMENT) as u64;
            let rest = Region { offset: region.offset.checked_add(inside)?, bytes: region.bytes - inside };
            if let Some(header) = Header::read(file, rest) {
                return Some((header, rest));
            }
        }
        at += PIECE_BYTES;
        *left = left.saturating_sub(PIECE_BYTES);
    }
    None
}
