//! Records of the ring buffer; no kernel program is loaded.

#[path = "../../../profiler-agent/src/bpf/event.rs"]
pub mod event;

pub use event::*;
