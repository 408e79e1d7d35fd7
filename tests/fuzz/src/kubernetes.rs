//! Its configuration; nobody is asked.

#[path = "../../../profiler-agent/src/kubernetes/config.rs"]
mod config;

pub(crate) use config::ACCOUNT;
pub use config::{KubernetesConfig, LabelPreset, PodLabels, When};
