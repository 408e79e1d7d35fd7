//! What of a window leaves the host, and under which labels.
//!
//! Input: closed windows with names. Output: the same, relabelled and within the limit of series, for the otlp stage.
//! Invariant: every sample goes out or is said to be dropped.

use crate::aggregate::{Folded, SeriesGuard};
use crate::otlp::underscored;
use crate::profile::{Profile, Service};
use crate::relabel::{Relabelled, Rules};
use crate::telemetry::metrics::{Metric, Metrics};
use std::sync::Arc;
use std::time::Instant;

/// Keys with dots and values, sorted by key.
type Labels = Vec<Label>;
/// Key and value.
type Label = (Arc<str>, Arc<str>);

/// Prepares windows for servers.
#[derive(Debug)]
pub struct Outgoing {
    rules: Rules,
    /// Of every service.
    shared: Labels,
    guard: SeriesGuard,
    metrics: Arc<Metrics>,
    said: bool,
}

/// A window that may leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What leaves.
    pub profile: Profile,
    /// Labels of every service that the services do not have themselves.
    pub shared: Labels,
    /// Samples of services that a relabel rule drops.
    pub dropped: u64,
    /// Of the labels of every service those that all series have: what to ask the server for.
    pub common: Labels,
}

impl Outgoing {
    /// `shared` are labels of every service.
    #[must_use]
    pub fn new(rules: Rules, max_series: usize, shared: Labels, metrics: Arc<Metrics>) -> Self {
        let guard = SeriesGuard::new(max_series, other_labels(&rules, &shared));
        Self { rules, shared, guard, metrics, said: false }
    }

    /// Goes on with another configuration; the series of the last hour stay known.
    pub fn reload(&mut self, rules: Rules, max_series: usize, shared: Labels) {
        self.guard.set_limit(max_series, other_labels(&rules, &shared));
        (self.rules, self.shared, self.said) = (rules, shared, false);
    }

    /// Prepares a window.
    #[must_use]
    pub fn prepare(&mut self, profile: Profile) -> Prepared {
        let (relabelled, shared) = if self.rules.is_empty() {
            (Relabelled { profile, dropped: 0 }, self.shared.clone())
        } else {
            (self.rules.apply(profile, &self.shared), Labels::new())
        };
        let Folded { profile, samples, series } = self.guard.fold(relabelled.profile, Instant::now());
        self.metrics.add(Metric::SeriesFolded, "", samples);
        self.metrics.set(Metric::Series, "", series as f64);
        if samples > 0 && !std::mem::replace(&mut self.said, true) {
            tracing::warn!(series, "as many series as --max-series allows: labels of further ones are called other");
        }
        let common =
            self.shared.iter().filter(|label| profile.services.iter().all(|service| has(service, &shared, label)));
        Prepared { common: common.cloned().collect(), profile, shared, dropped: relabelled.dropped }
    }
}

/// Whether a series of the service has a label: its own go before the shared ones.
fn has(service: &Service, shared: &Labels, (key, value): &Label) -> bool {
    let name = underscored(key);
    let mut labels = service.labels.iter().chain(shared);
    labels.find(|(key, _)| underscored(key) == name).is_some_and(|(_, found)| found == value)
}

/// Rules see shared labels and may remove them; without rules they are added to all services alike.
fn other_labels(rules: &Rules, shared: &Labels) -> Labels {
    if rules.is_empty() { Labels::new() } else { shared.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Sample;
    use crate::relabel::{Action, Pattern, Rule};

    fn window() -> Profile {
        let services = ["a", "b", "c", "kube-proxy"].into_iter().zip([1, 2, 4, 8]);
        let service = |(name, count): (&str, u64)| Service {
            name: name.into(),
            labels: vec![],
            samples: vec![Sample { stack: 0, thread: 0, count }],
        };
        Profile { services: services.map(service).collect(), ..Profile::default() }
    }

    #[test]
    fn rules_come_before_the_limit() {
        let metrics = Arc::<Metrics>::default();
        let shared: Labels = vec![(Arc::from("host.name"), Arc::from("n1"))];
        let drop = Rule {
            source_labels: vec!["service_name".into()],
            regex: Pattern::new("kube-.*").unwrap(),
            action: Action::Drop,
            ..Rule::new().unwrap()
        };
        let mut outgoing = Outgoing::new(Rules::new(vec![drop]), 2, shared.clone(), Arc::clone(&metrics));
        let Prepared { profile, shared: further, dropped, common } = outgoing.prepare(window());
        let names: Vec<&str> = profile.services.iter().map(|service| &*service.name).collect();
        assert_eq!((names, dropped, further), (vec!["a", "b", "other"], 8, Labels::new()));
        assert_eq!(common, shared);
        assert!(profile.services.iter().all(|service| service.labels == shared));
        assert_eq!((metrics.get(Metric::SeriesFolded, ""), metrics.get(Metric::Series, "")), (4.0, 3.0));

        outgoing.reload(Rules::default(), 200, shared.clone());
        let prepared = outgoing.prepare(window());
        assert_eq!((&prepared.profile, &prepared.shared, prepared.dropped), (&window(), &shared, 0));
        assert_eq!((prepared.common, metrics.get(Metric::Series, "")), (shared, 7.0));
    }

    #[test]
    fn labels_that_services_have_otherwise_are_not_common() {
        let label = |key: &str, value: &str| (Arc::from(key), Arc::from(value));
        let shared = vec![label("host.name", "n1"), label("service.version", "1"), label("team", "a")];
        let mut profile = window();
        profile.services[1].labels = vec![label("service_version", "2"), label("team", "a")];
        let mut outgoing = Outgoing::new(Rules::default(), 9, shared, Arc::default());
        assert_eq!(outgoing.prepare(profile).common, [label("host.name", "n1"), label("team", "a")]);
    }
}
