//! What relabelling needs of it.

#[path = "../../../profiler-agent/src/aggregate/join.rs"]
mod join;

pub use join::join_equal;
