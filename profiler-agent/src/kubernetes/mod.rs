//! Which pod a process is in, and what it is called for that.
//!
//! Input: the API server's watch of this node's pods and of all namespaces' annotations; identities of processes with the
//! containers that their cgroups name. Output: names and labels of series. Invariants: nothing here is waited for, what is
//! not known yet is left out; a pod that is gone still names its last samples; whatever the API server says or does not
//! say, sampling goes on.

mod access;
mod cgroups;
mod config;
mod enforce;
mod kubelet;
mod names;
mod object;
mod owner;
mod pod;
mod probe;
mod problem;
mod rules;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use access::Access;
pub(crate) use config::ACCOUNT;
pub use config::{KubernetesConfig, LabelPreset, PodLabels, When};
pub use enforce::Enforcement;
pub use names::{Named, PodNames};
pub use owner::Owner;
pub use pod::{Pod, PodContainer};
pub(crate) use probe::{Missing, probe};
pub use store::Store;

use crate::telemetry::metrics::Metrics;
use std::sync::Arc;

/// The watch, before it runs.
#[derive(Debug)]
pub struct Kubernetes {
    /// What it finds.
    store: Arc<Store>,
    access: Option<Access>,
}

impl Kubernetes {
    /// As configured; where the API server cannot be asked, says why, and knows no pod.
    #[must_use]
    pub fn new(config: &KubernetesConfig) -> Self {
        let access = Access::find(config, |name| std::env::var(name).ok()).unwrap_or_else(|error| {
            watch::tell(&error);
            None
        });
        Self { store: Arc::default(), access }
    }

    /// The pods.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// TCP ports of the API server and, where it may be asked, of the kubelet.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.access.iter().flat_map(|access| std::iter::once(access.port).chain(access.kubelet_port()))
    }

    /// What does as the pods say. Where nobody is asked for them, none has to say yes.
    #[must_use]
    pub fn enforcement(&self, config: &KubernetesConfig, metrics: &Arc<Metrics>) -> Enforcement {
        let tells = self.access.is_some();
        let config = KubernetesConfig { default_enabled: config.default_enabled || !tells, ..config.clone() };
        Enforcement::new(self.store(), config, Arc::clone(metrics), tells)
    }

    /// Watches until it is dropped, on the runtime that polls it; `changed` is called when something may be another.
    pub async fn watch(self, metrics: Arc<Metrics>, changed: impl Fn()) {
        if let Some(access) = self.access {
            watch::run(access, self.store, metrics, &changed).await;
        }
    }
}
