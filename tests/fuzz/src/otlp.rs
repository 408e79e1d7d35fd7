//! How labels are written.

#[path = "../../../profiler-agent/src/otlp/naming.rs"]
mod naming;

pub use naming::LabelStyle;
pub(crate) use naming::{clip, underscored};
