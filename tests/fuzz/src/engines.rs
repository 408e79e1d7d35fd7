//! What they answer and what becomes of it; nobody is asked.

#[path = "../../../profiler-agent/src/engines/config.rs"]
mod config;
#[path = "../../../profiler-agent/src/engines/listing.rs"]
pub(crate) mod listing;
#[path = "../../../profiler-agent/src/engines/names.rs"]
mod names;

pub(crate) use config::SOCKETS;
pub use listing::Described;
pub(crate) use names::{answer, labels};
