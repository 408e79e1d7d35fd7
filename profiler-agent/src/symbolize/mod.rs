//! Names for frames.
//!
//! Input: a closed [`Window`](crate::aggregate::Window) of addresses. Output: a [`Profile`](crate::profile::Profile).
//! Invariant: every frame gets a line, `module+0x1234` at worst, and why there was no better name is counted; each
//! file is read once while it is remembered, and nothing that it holds can take more than a bounded share of memory.

pub(crate) mod demangle;
mod names;
mod profile;
mod symbol_file;

pub use names::Names;
pub use profile::symbolize;
