//! The kernel side as the agent sees it: load, attach, read.
//!
//! Input: filters, frequency. Output: [`reader::Batch`]es of samples, process events and mappings in order of time.
//! Invariant: nothing blocks the reader; what cannot be handed on is dropped and counted.
#![expect(unsafe_code, reason = "perf_event_open, ioctl and shared memory with the kernel have no safe interface")]

pub mod btf;
mod counters;
pub(crate) mod event;
mod filter;
mod heap;
mod load;
mod names;
pub mod offsets;
mod perf;
mod rates;
pub mod reader;
mod rules;
mod sampled;
mod sampling;
mod sideband;
mod tables;

pub use counters::Counters;
pub use event::{CopiedStack, Event, ExecEvent, Lost, MmapEvent, Sample, monotonic_ns};
pub use heap::{bound_heap, trim_heap};
pub use load::{LoadError, Loaded, Options, default_ring_bytes, load, try_ring_buffer, verified};
pub use names::bound_names;
pub use perf::Clock;
pub use rates::{Rates, Reported, period_ns};
pub use rules::{CgroupRules, Rule};
pub use sampling::try_sampling;
pub use tables::{KernelTables, SlabMaker};
