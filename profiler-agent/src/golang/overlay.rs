//! Rows of two sources as one: Go's in its text, the other's around it.

use super::rows::{Frames, Rows};
use crate::unwind::Encoder;
use profiler_common::unwind::Rule;
use std::iter::Peekable;
use std::ops::Range;

/// Takes the rows of another source in order of address, and adds Go's. Those of the other source that lie in Go's text
/// are left out.
pub struct Overlay<'a> {
    encoder: &'a mut Encoder,
    rows: Peekable<Rows<'a>>,
    text: Range<u64>,
    /// What the other source says at the address reached.
    other: Rule,
}

impl<'a> Overlay<'a> {
    /// Pushes to an encoder.
    pub fn new(encoder: &'a mut Encoder, frames: &'a Frames) -> Self {
        Self { encoder, rows: frames.rows().peekable(), text: frames.text(), other: Rule::NONE }
    }

    /// A row of the other source.
    pub fn push(&mut self, address: u64, rule: Rule) {
        self.push_before(address);
        self.other = rule;
        if !self.text.contains(&address) {
            self.encoder.push(address, rule);
        }
    }

    /// Go's rows that are left. To be called at the end.
    pub fn finish(mut self) {
        self.push_before(u64::MAX);
    }

    /// Go's rows up to an address; where they end the other source goes on.
    fn push_before(&mut self, address: u64) {
        while let Some((row, rule)) = self.rows.next_if(|(row, _)| *row <= address) {
            let rule = if row >= self.text.end { self.other } else { rule };
            self.encoder.push(row, rule);
        }
    }
}
