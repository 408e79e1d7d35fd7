//! Records of the ring buffer; no kernel program is loaded.

#[path = "../../../profiler-agent/src/bpf/event.rs"]
pub mod event;

pub use event::*;

/// What drives sampling, as the configuration says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in the agent")]
pub enum Clock {
    CpuClock,
    Cycles,
}
