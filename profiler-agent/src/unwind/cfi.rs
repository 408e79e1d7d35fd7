//! Call frame information of an ELF file, as rows.
//!
//! Input: an open file. Output: its [`UnwindTable`]. Invariants: the file is read, never mapped; each entry is decoded
//! once for each attempt of the encoder, in order of address; what cannot be said with a [`Rule`] is
//! [`Rule::UNSUPPORTED`], never something else.
//!
//! `.eh_frame` comes first; `.debug_frame` fills the ranges that it lacks; start-up code and assembly, which have
//! neither, are known by their instructions. Where a CFA is in a register that called functions save, calls have rows of
//! their own. Formats: DWARF 5, section 6.4, and the Linux Standard Base's chapter on `.eh_frame`.

mod assembly;
mod calls;
mod decoder;
mod entries;
mod expression;
mod image;
mod layout;
mod machine;
mod pieces;
mod program;
mod roots;
mod rows;
mod startup;
mod trace;

use super::{Encoder, UnwindTable};
use calls::Calls;
use entries::{Entry, Kind, Section};
use gimli::{BaseAddresses, DebugFrame, EhFrame, EndianSlice, LittleEndian};
use layout::Layout;
use profiler_common::unwind::rule::Rule;
use startup::Startup;
use std::cmp::Reverse;
use std::fs::File;

/// Bytes of a section.
type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Code without entries between two functions that is shorter is padding: nothing executes it.
const PADDING_BYTES: u64 = 16;

/// Why a file gives no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTable {
    /// It has no call frame information for its code.
    #[error("the file has no call frame information")]
    NoCfi,
    /// Not an ELF file, or cut short.
    #[error("the file is not a readable ELF file")]
    Malformed,
    /// Beyond what is looked at.
    #[error("the file's call frame information is larger than what is looked at")]
    TooLarge,
    /// Neither x86_64 nor aarch64, or not little-endian ELF64.
    #[error("the file is for another machine")]
    UnsupportedMachine,
    /// The disk refused.
    #[error("the file cannot be read")]
    ReadError,
}

impl NoTable {
    /// The label value in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoCfi => "no_cfi",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::UnsupportedMachine => "unsupported_machine",
            Self::ReadError => "read_error",
        }
    }
}

/// The rows of a file, by the addresses that its symbols use.
pub fn build(file: &File) -> Result<UnwindTable, NoTable> {
    build_over(file, |encoder, feed| feed(&mut |address, rule| encoder.push(address, rule)))
}

/// What takes rows in order of address.
pub type Push<'a> = dyn FnMut(u64, Rule) + 'a;
/// What gives rows.
pub type Feed<'a> = dyn FnOnce(&mut Push<'_>) -> Result<(), NoTable> + 'a;

/// The same, every row going to the encoder through `over`.
pub fn build_over(
    file: &File,
    over: impl Fn(&mut Encoder, Box<Feed<'_>>) -> Result<(), NoTable>,
) -> Result<UnwindTable, NoTable> {
    let layout = layout::read(file)?;
    let bases = BaseAddresses::default().set_eh_frame(layout.eh_frame_address);
    let (eh_frame, debug_frame) = sections(&layout, &bases);
    let mut entries = merge(eh_frame.entries(&layout.code)?, debug_frame.entries(&layout.code)?);
    if entries.is_empty() {
        return Err(NoTable::NoCfi);
    }
    let startup = Startup::find(&layout, &entries);
    entries.extend(startup.entries());
    sort(&mut entries);
    let assembly = assembly::rows(&layout, &entries);
    UnwindTable::build(|encoder| {
        let mut calls = Calls::new(&layout.image, &entries, &eh_frame, &debug_frame);
        let (mut eh_frame, mut debug_frame) = (eh_frame.decoder(), debug_frame.decoder());
        let rows = |push: &mut Push<'_>| {
            feed(push, &entries, &assembly, |push, entry, end| {
                let mut row = (entry.start, Rule::NONE);
                let mut tell = |address, rule| {
                    let (start, before) = std::mem::replace(&mut row, (address, rule));
                    calls.push(start..address, before, push);
                    push(address, rule);
                };
                match entry.kind() {
                    _ if entry.is_startup() => startup.rows(entry, end, tell),
                    Kind::EhFrame => eh_frame.rows(entry, end, &mut tell)?,
                    Kind::DebugFrame => debug_frame.rows(entry, end, &mut tell)?,
                }
                calls.push(row.0..end, row.1, push);
                Ok(())
            })
        };
        over(encoder, Box::new(rows))
    })
}

/// How many functions have their rows from `.eh_frame`, and how many from `.debug_frame`.
pub(crate) fn functions(file: &File) -> Result<[usize; 2], NoTable> {
    let layout = layout::read(file)?;
    let bases = BaseAddresses::default().set_eh_frame(layout.eh_frame_address);
    let (eh_frame, debug_frame) = sections(&layout, &bases);
    let entries = merge(eh_frame.entries(&layout.code)?, debug_frame.entries(&layout.code)?);
    Ok([Kind::EhFrame, Kind::DebugFrame].map(|kind| entries.iter().filter(|entry| entry.kind() == kind).count()))
}

fn sections<'a>(
    layout: &'a Layout<'a>,
    bases: &'a BaseAddresses,
) -> (Section<'a, EhFrame<Bytes<'a>>>, Section<'a, DebugFrame<Bytes<'a>>>) {
    let machine = layout.machine;
    let mut frames = EhFrame::new(&layout.eh_frame, LittleEndian);
    frames.set_address_size(8);
    frames.set_vendor(machine.vendor);
    let eh_frame = Section { frames, kind: Kind::EhFrame, content: &layout.eh_frame, bases, machine };
    let mut frames = DebugFrame::new(&layout.debug_frame, LittleEndian);
    frames.set_address_size(8);
    frames.set_vendor(machine.vendor);
    let debug_frame = Section { frames, kind: Kind::DebugFrame, content: &layout.debug_frame, bases, machine };
    (eh_frame, debug_frame)
}

/// Both sections' entries by address: of several that begin at one, the shortest comes last, and of equals the first.
fn merge(mut entries: Vec<Entry>, more: Vec<Entry>) -> Vec<Entry> {
    sort(&mut entries);
    let known = entries.len();
    for entry in more {
        let after = entries[..known].partition_point(|known| known.start <= entry.start);
        if after == 0 || entries[after - 1].end() <= entry.start {
            entries.push(entry);
        }
    }
    sort(&mut entries);
    entries
}

fn sort(entries: &mut [Entry]) {
    entries.sort_unstable_by_key(|entry| (entry.start, Reverse((entry.length, entry.place))));
}

/// Feeds the rows of all entries and of what lies between them; each holds until the next one begins.
fn feed(
    push: &mut Push<'_>,
    entries: &[Entry],
    assembly: &[assembly::Row],
    mut rows: impl FnMut(&mut Push<'_>, Entry, u64) -> Result<(), NoTable>,
) -> Result<(), NoTable> {
    let mut between = assembly.iter().peekable();
    let mut push_before = |push: &mut Push<'_>, end: u64| {
        while let Some((address, rule)) = between.next_if(|(address, _)| *address < end) {
            push(*address, *rule);
        }
    };
    push_before(push, entries.first().map_or(0, |first| first.start));
    for (index, &entry) in entries.iter().enumerate() {
        let next = entries.get(index + 1).map_or(u64::MAX, |next| next.start);
        let end = entry.end().min(next);
        if end > entry.start {
            rows(push, entry, end)?;
        }
        if next - end >= PADDING_BYTES {
            push(end, Rule::NONE);
            push_before(push, next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
