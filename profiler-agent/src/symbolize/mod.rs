//! Names for frames.
//!
//! Input: a closed [`Window`](crate::aggregate::Window) of addresses. Output: a [`Profile`](crate::profile::Profile).
//! Invariant: every frame gets a line, `module+0x1234` at worst, and why there was no better name is counted; each
//! file is read once while it is remembered, and nothing that it holds can take more than a bounded share of memory.

mod arena;
mod code_spans;
mod demangle;
mod growing;
mod jit;
mod jit_lines;
mod jitdump;
mod kallsyms;
mod names;
mod perf_map;
mod profile;
mod symbol_file;

pub use names::Names;
pub use profile::symbolize;
