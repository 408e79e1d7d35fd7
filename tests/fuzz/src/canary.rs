//! Its configuration and what it reads; nobody is asked.

#[path = "../../../profiler-agent/src/canary/answer.rs"]
pub mod answer;
#[path = "../../../profiler-agent/src/canary/config.rs"]
mod config;

pub use config::CanaryConfig;
