//! Its configuration and what it reads; nothing is sent.

#[path = "../../../profiler-agent/src/export/config.rs"]
mod config;
#[path = "../../../profiler-agent/src/export/outcome.rs"]
pub(crate) mod outcome;

pub use config::{Auth, Endpoint, ExportConfig, Protocol};
