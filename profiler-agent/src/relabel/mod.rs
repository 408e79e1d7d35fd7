//! Relabel rules as Prometheus has them, on the labels of services: a function from values to values.
//!
//! Input: a closed window with names, labels that all services share, the rules in order. Output: the same window with
//! new labels, without the services that a rule drops, and how many samples those had. Invariant: the samples of the
//! window are those that stay and those that are said to be dropped.
//!
//! Rules see labels in the form that Pyroscope shows, with underscores: `service_name`, `k8s_pod_name`. Where a rule
//! names a label by its dotted key (`k8s.pod.name`) the same label is meant. Labels that begin with `__` are gone after
//! the last rule.

mod labels;
mod pattern;
mod rule;

pub use pattern::{BadPattern, Pattern};
pub use rule::{ACTIONS, Action, Fault, Rule};

use crate::aggregate::join_equal;
use crate::profile::{Profile, Service};
use labels::Labels;
use std::sync::Arc;

/// The rules in their order; none changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// A window after the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Relabelled {
    /// What is left; every service has all of its labels, the shared ones included.
    pub profile: Profile,
    /// Samples of the services that were dropped.
    pub dropped: u64,
}

impl Rules {
    /// Rules to be applied one after the other.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Whether there is nothing to apply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the rules to every service. `shared` are labels of all services; a service's own go first. Services that
    /// become equal become one.
    #[must_use]
    pub fn apply(&self, mut profile: Profile, shared: &[(Arc<str>, Arc<str>)]) -> Relabelled {
        let mut dropped = 0;
        let mut kept = Vec::with_capacity(profile.services.len());
        for service in std::mem::take(&mut profile.services) {
            match self.relabel(&service, shared) {
                Some((name, labels)) => kept.push(Service { name, labels, samples: service.samples }),
                None => dropped += service.sample_count(),
            }
        }
        profile.services = join_equal(kept);
        Relabelled { profile, dropped }
    }

    /// The service's new name and labels; none when a rule drops it.
    fn relabel(&self, service: &Service, shared: &[(Arc<str>, Arc<str>)]) -> Option<labels::Named> {
        let mut labels = Labels::of(service, shared);
        self.0.iter().all(|rule| rule.apply(&mut labels)).then(|| labels.into_named())
    }
}

#[cfg(test)]
mod tests;
