//! Names for frames.
//!
//! Input: a closed [`Window`](crate::aggregate::Window) of addresses. Output: a [`Profile`](crate::profile::Profile).
//! Invariant: every frame gets a line, `module+0x1234` at worst, and why there was no better name is counted; each
//! file is read once while it is remembered, and nothing that it holds can take more than a bounded share of memory.
//!
//! Each kind of executable has sources in an order ([`source::openers`]); one is asked for what those before it left
//! open.

mod aliases;
mod arena;
mod code_spans;
mod debuginfo;
mod debuginfod;
pub(crate) mod demangle;
mod exported;
mod go;
mod growing;
mod jit;
mod jit_lines;
pub(crate) mod jitdump;
mod kallsyms;
mod kernel;
mod names;
mod origin;
pub(crate) mod perf_map;
mod profile;
mod remembered;
mod source;
mod symbol_file;
mod symbol_index;
mod symbol_table;

pub use debuginfod::{DebugFile, Debuginfod, DebuginfodOptions};
pub use names::{Names, Site};
pub(crate) use origin::{SymbolOrigin, origins};
pub use profile::symbolize;
