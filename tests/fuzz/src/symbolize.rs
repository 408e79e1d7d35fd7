//! Names for frames, without a network: what a debuginfod server sends is read like any other debug file.

#[path = "../../../profiler-agent/src/symbolize/aliases.rs"]
mod aliases;
#[path = "../../../profiler-agent/src/symbolize/arena.rs"]
mod arena;
#[path = "../../../profiler-agent/src/symbolize/code_spans.rs"]
mod code_spans;
#[path = "../../../profiler-agent/src/symbolize/debuginfo/mod.rs"]
mod debuginfo;
mod debuginfod;
#[path = "../../../profiler-agent/src/symbolize/demangle.rs"]
pub(crate) mod demangle;
#[path = "../../../profiler-agent/src/symbolize/exported.rs"]
mod exported;
#[path = "../../../profiler-agent/src/symbolize/go.rs"]
mod go;
#[path = "../../../profiler-agent/src/symbolize/growing.rs"]
mod growing;
#[path = "../../../profiler-agent/src/symbolize/jit.rs"]
mod jit;
#[path = "../../../profiler-agent/src/symbolize/jit_lines.rs"]
mod jit_lines;
#[path = "../../../profiler-agent/src/symbolize/jitdump/mod.rs"]
pub(crate) mod jitdump;
#[path = "../../../profiler-agent/src/symbolize/kallsyms.rs"]
mod kallsyms;
#[path = "../../../profiler-agent/src/symbolize/kernel.rs"]
mod kernel;
#[path = "../../../profiler-agent/src/symbolize/names.rs"]
mod names;
#[path = "../../../profiler-agent/src/symbolize/perf_map.rs"]
pub(crate) mod perf_map;
#[path = "../../../profiler-agent/src/symbolize/remembered.rs"]
mod remembered;
#[path = "../../../profiler-agent/src/symbolize/source.rs"]
mod source;
#[path = "../../../profiler-agent/src/symbolize/symbol_file.rs"]
mod symbol_file;
#[path = "../../../profiler-agent/src/symbolize/symbol_index.rs"]
mod symbol_index;
#[path = "../../../profiler-agent/src/symbolize/symbol_table.rs"]
mod symbol_table;

pub use names::{Names, Site};
