//! Entries for fuzzing: every reader of foreign bytes, called with any bytes.
//!
//! Input: bytes. Output: nothing; an entry panics where an invariant is broken. `cargo xtask fuzz` runs them with
//! coverage feedback, and plain tests run them over every seed, as it is and made wrong, and over every input that once
//! broke one of them.

mod answers;
mod disk;
mod files;
mod settings;
mod spooled;
mod text;
mod unwinding;

#[cfg(test)]
mod tests;

pub use answers::{canary_answer, engine_answer, export_answer};
pub use disk::MemoryDisk;
pub use files::{debug_info, eh_frame, elf_headers, go_tables, jitdump, perf_map, symbols};
pub use settings::{config_file, relabel};
pub use spooled::{spool_state, spool_window};
pub use text::{cgroup, demangle, maps, ring_record};
pub use unwinding::{copied_stack, unwind_page, unwind_step, unwind_table};

/// An entry by its name: the name of its fuzz target, and of its folder of inputs.
pub type Target = (&'static str, fn(&[u8]));

/// All entries.
pub const TARGETS: &[Target] = &[
    ("canary_answer", canary_answer),
    ("cgroup", cgroup),
    ("config_file", config_file),
    ("copied_stack", copied_stack),
    ("debug_info", debug_info),
    ("debug_links", symbols),
    ("demangle", demangle),
    ("eh_frame", eh_frame),
    ("elf_headers", elf_headers),
    ("engine_answer", engine_answer),
    ("export_answer", export_answer),
    ("go_tables", go_tables),
    ("jitdump", jitdump),
    ("maps", maps),
    ("perf_map", perf_map),
    ("relabel", relabel),
    ("ring_record", ring_record),
    ("spool_state", spool_state),
    ("spool_window", spool_window),
    ("symbols", symbols),
    ("unwind_page", unwind_page),
    ("unwind_step", unwind_step),
    ("unwind_table", unwind_table),
];
