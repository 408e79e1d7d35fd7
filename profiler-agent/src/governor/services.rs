//! Services that are sampled more or less often than the others.

use crate::bpf::Rates;
use crate::config::ServiceFrequency;
use crate::kubernetes::PodNames;
use crate::process::{Identity, ProcessKey};
use profiler_common::limits::MAX_PROCESS_RATES;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Frequencies of their own, by the name of the service.
#[derive(Clone, Debug, Default)]
pub struct Frequencies {
    services: Vec<ServiceFrequency>,
    distinct: Vec<u32>,
}

impl Frequencies {
    /// The first that says something of a name counts.
    #[must_use]
    pub fn new(services: Vec<ServiceFrequency>) -> Self {
        let mut distinct: Vec<u32> = services.iter().map(|service| service.hz).collect();
        distinct.sort_unstable();
        distinct.dedup();
        Self { services, distinct }
    }

    /// Samples per second and CPU of a service; none when it is sampled like all others.
    #[must_use]
    pub fn of(&self, service: &str) -> Option<u32> {
        self.services.iter().find_map(|frequency| frequency.of(service))
    }

    /// Each frequency once.
    #[must_use]
    pub fn distinct(&self) -> &[u32] {
        &self.distinct
    }
}

/// Tells the program of processes whose services have a rate of their own.
pub struct ServiceRates {
    frequencies: Frequencies,
    pods: PodNames,
    rates: Arc<Rates>,
    /// By process, what was known of it when it was told: itself, and the version of its pods.
    told: HashMap<ProcessKey, (Arc<Identity>, u64)>,
}

impl ServiceRates {
    /// Has told nothing yet.
    #[must_use]
    pub fn new(frequencies: Frequencies, pods: PodNames, rates: Arc<Rates>) -> Self {
        Self { frequencies, pods, rates, told: HashMap::new() }
    }

    /// A process is called so; the program goes by that from its next sample on.
    pub fn tell(&mut self, key: ProcessKey, identity: &Arc<Identity>) {
        if self.frequencies.distinct().is_empty() {
            return;
        }
        let version = self.pods.version();
        if self.told.get(&key).is_some_and(|(told, of)| Arc::ptr_eq(told, identity) && *of == version) {
            return;
        }
        if self.told.len() >= MAX_PROCESS_RATES as usize {
            self.told.clear();
        }
        self.told.insert(key, (Arc::clone(identity), version));
        let hz = self.frequencies.of(&self.pods.of(identity).name);
        if let Err(error) = self.rates.set_process(key.tgid, key.start_ns, hz) {
            tracing::warn!(%error, pid = key.tgid, "cannot tell the kernel program how often to sample a process");
        }
    }

    /// Forgets processes that are no more.
    pub fn keep(&mut self, lives: impl Fn(ProcessKey) -> bool) {
        let gone: Vec<ProcessKey> = self.told.keys().copied().filter(|key| !lives(*key)).collect();
        gone.iter().for_each(|key| drop(self.told.remove(key)));
        let taken: HashSet<u32> = self.told.keys().map(|key| key.tgid).collect();
        for key in gone.iter().filter(|key| !taken.contains(&key.tgid)) {
            let _ = self.rates.set_process(key.tgid, key.start_ns, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relabel::Pattern;

    #[test]
    fn the_first_pattern_that_fits_counts() {
        let frequency = |name, hz| ServiceFrequency { name: Pattern::new(name).unwrap(), hz };
        let all = Frequencies::new(vec![frequency("api-.*", 99), frequency(".*api.*", 7), frequency("db", 99)]);
        assert_eq!(
            [all.of("api-1"), all.of("an api"), all.of("db"), all.of("dbx")],
            [Some(99), Some(7), Some(99), None]
        );
        assert_eq!(all.distinct(), [7, 99]);
    }
}
