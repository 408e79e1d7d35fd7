//! Go programs: names and unwind rows from the tables that the Go runtime itself walks stacks with.
//!
//! Input: an ELF file, stripped or not. Output: [`Site`]s of an address, and rows for
//! [`UnwindTable`](crate::unwind::UnwindTable)s. Invariant: the file is read by position with bounds and never mapped;
//! nothing in it can take more than [`MAX_TABLE_BYTES`] of memory.

mod build_info;
mod code;
mod image;
mod locate;
mod module;
mod names;
mod overlay;
mod pclntab;
mod rows;
mod special;
mod values;

#[cfg(test)]
mod tests;

pub use image::Machine;
pub use names::Site;
pub use overlay::Overlay;
pub use pclntab::{Pclntab, Version};
pub use rows::{Frames, Rows};

use crate::unwind::UnwindTable;
use std::fs::File;

/// Bytes of a file's tables that are held while its rows are built.
pub const MAX_TABLE_BYTES: u64 = 128 << 20;

/// Why a Go program's table is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not an ELF file, or a table that contradicts itself.
    #[error("the table of Go functions is malformed")]
    Malformed,
    /// Beyond [`MAX_TABLE_BYTES`].
    #[error("the table of Go functions is larger than what is looked at")]
    TooLarge,
    /// Its addresses are relative, and what to is not known.
    #[error("the start of Go's text was not found")]
    NoTextStart,
}

impl Unusable {
    /// The label value in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::NoTextStart => "no_text_start",
        }
    }
}

/// The rows of a Go program's own text; none for other files. Its C parts, where it has any, have theirs elsewhere:
/// see [`Overlay`].
pub fn table(file: &File) -> Result<Option<UnwindTable>, Unusable> {
    let Some(table) = Pclntab::open(file)? else { return Ok(None) };
    let frames = Frames::load(&table, file)?;
    UnwindTable::build(|encoder| {
        frames.rows().for_each(|(address, rule)| encoder.push(address, rule));
        Ok(())
    })
    .map(Some)
}
