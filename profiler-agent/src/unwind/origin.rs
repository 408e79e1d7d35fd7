//! Where a file's rows come from, for people.

use super::{builder, cfi};
use std::fs::File;

/// The rows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowOrigin {
    /// How many.
    pub(crate) rows: u64,
    /// What they take packed, in bytes.
    pub(crate) bytes: usize,
    /// What they are made from.
    pub(crate) from: Vec<&'static str>,
}

impl RowOrigin {
    /// Builds the table of a file as the agent does, and looks at what it was made from.
    ///
    /// # Errors
    /// The label of why there is no table.
    pub(crate) fn of(file: &File) -> Result<Self, &'static str> {
        let table = builder::table(file)?;
        let mut from = Vec::new();
        if builder::go_frames(file).is_some() {
            from.push("Go pclntab");
        }
        let sections = cfi::functions(file).unwrap_or_default();
        for (section, functions) in [".eh_frame", ".debug_frame"].into_iter().zip(sections) {
            if functions > 0 {
                from.push(section);
            }
        }
        Ok(Self { rows: table.rows(), bytes: table.bytes(), from })
    }
}
