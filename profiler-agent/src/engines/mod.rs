//! What the container engines of a plain host, Docker and Podman, call the containers that processes are in.
//!
//! Input: ids of containers with samples; the engines' answers on their API sockets. Output: names and labels of series.
//! Invariants: nothing here is waited for, what is not known yet is left out; an engine is asked for containers that have
//! samples and told nothing else; a container that is gone still names its last samples; an engine that does not answer, or
//! lies, costs names, never samples. Containers of pods are the API server's to name.

mod ask;
mod config;
mod engine;
pub(crate) mod listing;
mod names;
mod probe;
mod problem;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use config::SOCKETS;
pub use listing::Described;
pub(crate) use names::{answer, labels};
pub(crate) use probe::{Found, look_up, probe};
#[cfg(test)]
pub(crate) use problem::Problem;
pub use store::Store;

use crate::telemetry::metrics::{Metric, Metrics};
use engine::Engine;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(1);

/// The engines, before they are asked.
#[derive(Debug)]
pub struct Engines {
    store: Arc<Store>,
    engines: Vec<Engine>,
}

impl Engines {
    /// Those at these sockets; none to ask nobody.
    #[must_use]
    pub fn new(sockets: &[PathBuf]) -> Self {
        let engines: Vec<Engine> = sockets.iter().map(|socket| Engine::new(socket.clone())).collect();
        Self { store: Arc::new(Store::new(!engines.is_empty())), engines }
    }

    /// The containers.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Asks until it is dropped, on the runtime that polls it: whenever a container has samples that is not known.
    pub async fn follow(mut self, metrics: Arc<Metrics>) {
        loop {
            let wanted = self.store.wanted().await;
            let (found, again) = self.ask(wanted.clone(), &metrics).await;
            let fits = self.store.answer(&wanted, found, again, Instant::now());
            metrics.add(Metric::ContainerEngineErrors, "too_many", u64::from(!fits));
            metrics.set(Metric::ContainersNamed, "", self.store.named() as f64);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One engine after the other; what they tell, and when those may be asked again that did not answer.
    async fn ask(&mut self, mut left: Vec<Arc<str>>, metrics: &Metrics) -> (Vec<Described>, Option<Instant>) {
        let (mut found, mut again) = (Vec::new(), None);
        for engine in &mut self.engines {
            let told = if left.is_empty() { Vec::new() } else { engine.ask(&left, metrics).await };
            left.retain(|id| !told.iter().any(|container| container.id == *id));
            found.extend(told);
            again = [again, engine.rests_until()].into_iter().flatten().min();
        }
        (found, again)
    }
}
