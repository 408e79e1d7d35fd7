//! Unwinding by table: what a row says, how rows are packed and found, and how one step is taken.
//!
//! One source for kernel and host: the kernel program and the agent both run [`page::lookup`] and [`step::step`], over
//! different [`page::Bytes`] and [`step::Stack`]s. The agent alone writes tables.
//!
//! A file's rows are cut into *pages* of `1 << page_bits` bytes of its text; a page's rows and rules lie together
//! ([`page`]). In the kernel, pages, their directories and the mappings of processes lie in *chunks* ([`place`]).

pub mod arch;
pub mod page;
pub mod place;
pub mod rule;
pub mod step;

pub use arch::Arch;
pub use rule::Rule;
pub use step::{Cursor, Stack, step, step_frame_pointer};
