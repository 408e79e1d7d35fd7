//! What a user says about it, and what caches may have, as the stages ask for it.

#[path = "../../../profiler-agent/src/governor/budgets.rs"]
mod budgets;
#[path = "../../../profiler-agent/src/governor/pressure.rs"]
mod pressure;

pub use budgets::Budgets;
pub use pressure::Pressure;
