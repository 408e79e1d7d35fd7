//! Samples into windows, windows into longer spans. No I/O.
//!
//! Input: samples with resolved addresses, or profiles. Output: a [`Window`] of distinct stacks, or one profile.
//! Invariant: counts are only ever added; what does not fit is dropped and counted. [`SeriesGuard`] bounds what a server
//! keeps of it.

mod join;
mod known;
pub mod merge;
mod open;
mod series;
mod window;

pub use join::join_equal;
pub use known::{KnownFrame, KnownFrames};
pub use open::{Open, OpenWindows};
pub use series::{Folded, SeriesGuard};
pub use window::{Frame, Window, WindowProcess, WindowThread};
