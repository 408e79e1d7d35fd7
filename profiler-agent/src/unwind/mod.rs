//! Unwind tables: rows of a file packed for the kernel, and stacks that the agent itself finishes.
//!
//! Input: executables that frames were seen in. Output: [`UnwindTable`]s, in the kernel's maps. Invariant: building a
//! table is a function from a file's sections to a table and happens off the sampling path; what a hostile file costs
//! is bounded by its size.

mod branches;
mod builder;
pub mod cfi;
mod chunks;
pub(crate) mod finish;
mod origin;
mod store;
pub(crate) mod table;
mod told;
mod unwinder;

pub use chunks::ChunkMemory;
pub(crate) use origin::RowOrigin;
pub use store::ProcessMemory;
pub use table::{Encoder, UnwindTable};
pub use unwinder::{Unwinder, UnwinderOptions};
