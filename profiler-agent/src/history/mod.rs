//! The last hour in memory: closed windows in, the windows of a span of time out.
//!
//! Input: a [`Profile`](crate::profile::Profile) per closed window. Output: the same profiles, oldest first.
//! Invariant: never more than the byte budget, counted with each window's own bookkeeping; what is too old or
//! too much goes oldest first, and that is no drop. Packing and unpacking happen outside the lock.

mod hour;
mod packed;

pub use hour::{DEFAULT_MAX_BYTES, History, HistoryError, MAX_AGE, WindowSummary};
