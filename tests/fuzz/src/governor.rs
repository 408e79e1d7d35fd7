//! What caches may have, as the stages ask for it.

#[path = "../../../profiler-agent/src/governor/pressure.rs"]
mod pressure;

pub use pressure::Pressure;
