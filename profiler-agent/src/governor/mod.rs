//! Keeps the agent and its kernel programs within budgets of CPU time and memory.
//!
//! Input: what was used since the last look, about once a second. Output: a [`Level`] of the ladder (how often is sampled,
//! whether process events are reported) and the share that caches may have. Invariant: deciding is a function from values
//! to values and knows no clock.

mod budgets;
mod cpu;
mod governing;
mod ladder;
mod memory;
mod pressure;
mod services;
mod usage;

pub use budgets::Budgets;
pub use governing::{Governing, Levers};
pub use ladder::{Ladder, Level};
pub use pressure::Pressure;
pub use services::{Frequencies, ServiceRates};
pub use usage::Meter;
