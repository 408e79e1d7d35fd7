//! Go programs: names and unwind rows from the tables that the Go runtime itself walks stacks with.
//!
//! Input: an ELF file, stripped or not. Output: [`Site`]s of an address, and rows for
//! [`UnwindTable`](crate::unwind::UnwindTable)s. Invariant: the file is read by position with bounds and never mapped;
//! nothing in it can take more than [`MAX_TABLE_BYTES`] of memory.

mod image;
mod locate;
mod module;
mod names;
mod pclntab;
mod values;

pub use image::Machine;
pub use names::Site;
pub use pclntab::{Pclntab, Version};

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
