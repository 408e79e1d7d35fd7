//! From an address to the functions that it belongs to, inlined calls first.

use super::image::Region;
use super::pclntab::{Function, INLINED, Pclntab, Version};
use std::fs::File;

/// Inlined calls within each other: compilers stop far before.
const MAX_DEPTH: usize = 128;
/// Longest name and path kept, in bytes.
const MAX_TEXT_BYTES: usize = 8192;
/// Names are read in pieces of so many bytes.
const PIECE_BYTES: usize = 256;
/// No path.
const NO_FILE: u32 = u32::MAX;

/// A function and where in it an address lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// As Go shows it: `main.(*server).handle`.
    pub function: String,
    /// Path of the source; empty when it is not known.
    pub file: String,
    /// 0 when it is not known.
    pub line: u32,
    /// Line that the function starts at; 0 when it is not known, as before Go 1.20.
    pub start_line: u32,
}

/// An inlined call.
struct Call {
    name: u32,
    start_line: u32,
    /// Where in the function the call was, as a distance from its entry.
    parent: u64,
}

impl Pclntab {
    /// The functions at an address as symbols use it, the innermost first; none for addresses that are not Go's. Of a
    /// return address the caller subtracts 1.
    #[must_use]
    pub fn sites(&self, file: &File, address: u64) -> Vec<Site> {
        let Some(function) = self.find(file, address) else { return Vec::new() };
        let mut sites = Vec::with_capacity(1);
        // The file may change under us.
        let Some(mut distance) = address.checked_sub(function.entry) else { return Vec::new() };
        let inlined = self.value_table(file, &function, INLINED).zip(self.inlined_calls(file, &function));
        if let Some((table, calls)) = inlined {
            for _ in 0..MAX_DEPTH {
                let index = self.value(file, table, distance).and_then(|index| u64::try_from(index).ok());
                let Some(call) = index.and_then(|index| self.call(file, calls, index)) else { break };
                sites.push(self.site(file, &function, distance, call.name, call.start_line));
                distance = call.parent;
            }
        }
        sites.push(self.site(file, &function, distance, function.name, function.start_line));
        sites
    }

    fn site(&self, file: &File, function: &Function, distance: u64, name: u32, start_line: u32) -> Site {
        let line = self.value(file, function.line, distance).and_then(|line| u32::try_from(line).ok());
        Site {
            function: self.name(file, name),
            file: self.path(file, function, distance).unwrap_or_default(),
            line: line.unwrap_or(0),
            start_line: if i32::try_from(start_line).is_ok() { start_line } else { 0 },
        }
    }

    /// A function's name by its place.
    pub(super) fn name(&self, file: &File, at: u32) -> String {
        text(file, self.names, u64::from(at)).unwrap_or_default()
    }

    fn path(&self, file: &File, function: &Function, distance: u64) -> Option<String> {
        let number = u32::try_from(self.value(file, function.file, distance)?).ok()?;
        let at = self.units.u32(file, 4 * (u64::from(function.unit) + u64::from(number)))?;
        if at == NO_FILE { None } else { text(file, self.files, u64::from(at)) }
    }

    /// Up to Go 1.19: `parent i16, id u8, _, file, line, name, parentPc`; then `id u8, _, name, parentPc, startLine`.
    fn call(&self, file: &File, calls: Region, index: u64) -> Option<Call> {
        let (size, name, parent) = if self.version == Version::Go120 { (16, 4, 8) } else { (20, 12, 16) };
        let at = index * size;
        let word = |place: u64| calls.u32(file, at + place);
        let start_line = if self.version == Version::Go120 { word(12)? } else { 0 };
        // Negative: before the function's first instruction, which it is taken for.
        let parent = u64::try_from(word(parent)? as i32).unwrap_or(0);
        Some(Call { name: word(name)?, start_line, parent })
    }
}

/// The text from a place on up to its NUL.
fn text(file: &File, region: Region, at: u64) -> Option<String> {
    let mut text = Vec::new();
    let mut piece = [0; PIECE_BYTES];
    while text.len() < MAX_TEXT_BYTES {
        let bytes = region.read(file, at + text.len() as u64, &mut piece)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        text.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if end.is_some() || bytes.len() < PIECE_BYTES {
            break;
        }
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}
