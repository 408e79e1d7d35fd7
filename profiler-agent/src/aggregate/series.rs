//! Bounds the series that this agent makes on a server: pods come and go, and each would leave its own behind.
//!
//! A series is a service's name with its labels. Input: windows. Output: the same windows, in which services beyond the
//! limit share series. Invariants: samples are merged, none is lost; the series of an hour are at most the limit, and one
//! more that is called `other` by all that differs.

use super::join::{Series, join_equal};
use crate::profile::Profile;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A series not seen for this long makes room.
const FORGET: Duration = Duration::from_secs(3600);
/// What labels say that differ between instances of one service.
const OTHER: &str = "other";
/// One of so many series is kept for services whose instances are no longer told apart.
const FOLDED_SHARE: usize = 10;

/// Labels that tell instances of one service apart, with dots.
const INSTANCE_LABELS: &[&str] = &[
    "container.id",
    "container.name",
    "k8s.container.name",
    "k8s.container.restart_count",
    "k8s.cronjob.name",
    "k8s.job.name",
    "k8s.job.uid",
    "k8s.pod.ip",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.replicaset.name",
    "k8s.replicaset.uid",
    "pod",
    "service.instance.id",
    "service.version",
];
/// Beginnings of such labels.
const INSTANCE_PREFIXES: &[&str] = &["k8s.pod.label.", "k8s.pod.annotation.", "process.", "thread."];

/// Knows the series of the last hour.
#[derive(Debug)]
pub struct SeriesGuard {
    max: usize,
    /// Labels of the series that takes what fits nowhere else.
    other: Series,
    known: HashMap<Series, Instant>,
}

/// A window within the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// With as many samples as before.
    pub profile: Profile,
    /// Samples that went into a series other than their own.
    pub samples: u64,
    /// Series of the last hour.
    pub series: usize,
}

impl SeriesGuard {
    /// Allows `max` series, at least one, and one more with these labels.
    #[must_use]
    pub fn new(max: usize, other_labels: Vec<(Arc<str>, Arc<str>)>) -> Self {
        Self { max: max.max(1), other: (Arc::from(OTHER), other_labels), known: HashMap::new() }
    }

    /// Sets another limit; what is known stays known.
    pub fn set_limit(&mut self, max: usize, other_labels: Vec<(Arc<str>, Arc<str>)>) {
        let known = std::mem::take(&mut self.known);
        *self = Self { known, ..Self::new(max, other_labels) };
    }

    /// Folds what is beyond the limit.
    #[must_use]
    pub fn fold(&mut self, mut profile: Profile, now: Instant) -> Folded {
        self.known.retain(|_, seen| now.saturating_duration_since(*seen) < FORGET);
        let mut samples = 0;
        for service in &mut profile.services {
            let own = (Arc::clone(&service.name), service.labels.clone());
            let admitted = self.admit(&own, now);
            if admitted != own {
                samples += service.sample_count();
                (service.name, service.labels) = admitted;
            }
        }
        if samples > 0 {
            profile.services = join_equal(profile.services);
        }
        Folded { profile, samples, series: self.known.len() }
    }

    /// The series that samples of `own` go into.
    fn admit(&mut self, own: &Series, now: Instant) -> Series {
        let folded = without_instance(own);
        // Room for folded series, so that there is a place to fold to.
        let room = if folded == *own { self.max } else { self.max - self.max.div_ceil(FOLDED_SHARE) };
        if self.note(own, room.max(1), now) {
            return own.clone();
        }
        if self.note(&folded, self.max, now) {
            return folded;
        }
        let other = self.other.clone();
        self.note(&other, usize::MAX, now);
        other
    }

    /// Whether this series may be used: it is known, or there are fewer than `room`.
    fn note(&mut self, series: &Series, room: usize, now: Instant) -> bool {
        if let Some(seen) = self.known.get_mut(series) {
            *seen = now;
            return true;
        }
        let fits = self.known.len() < room;
        if fits {
            self.known.insert(series.clone(), now);
        }
        fits
    }
}

fn without_instance((name, labels): &Series) -> Series {
    let folded = labels.iter().map(|(key, value)| {
        let value = if is_of_instance(key) { Arc::from(OTHER) } else { Arc::clone(value) };
        (Arc::clone(key), value)
    });
    (Arc::clone(name), folded.collect())
}

/// Whether a label, written with dots or underscores, is one of an instance.
fn is_of_instance(key: &str) -> bool {
    let same = |a: u8, b: u8| a == b || (a == b'_' && b == b'.');
    let begins = |wanted: &str| key.len() >= wanted.len() && key.bytes().zip(wanted.bytes()).all(|(a, b)| same(a, b));
    INSTANCE_LABELS.iter().any(|label| label.len() == key.len() && begins(label))
        || INSTANCE_PREFIXES.iter().any(|prefix| begins(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Sample, Service};

    fn service(name: &str, labels: &[(&str, &str)], count: u64) -> Service {
        let labels = labels.iter().map(|&(key, value)| (Arc::from(key), Arc::from(value))).collect();
        Service { name: name.into(), labels, samples: vec![Sample { stack: 0, thread: 0, count }] }
    }

    fn window(services: Vec<Service>) -> Profile {
        Profile { services, ..Profile::default() }
    }

    fn pod(service_name: &str, pod: usize) -> Service {
        service(service_name, &[("k8s.namespace.name", "shop"), ("k8s.pod.name", &format!("pod-{pod}"))], 1)
    }

    fn shown(profile: &Profile) -> Vec<String> {
        let shown = |service: &Service| {
            let labels: String = service.labels.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            format!("{}{labels}: {}", service.name, service.sample_count())
        };
        profile.services.iter().map(shown).collect()
    }

    #[test]
    fn below_the_limit_nothing_changes() {
        let mut guard = SeriesGuard::new(10, vec![]);
        let before = window((0..9).map(|number| pod("cart", number)).collect());
        let folded = guard.fold(before.clone(), Instant::now());
        assert_eq!((folded.profile, folded.samples, folded.series), (before, 0, 9));
    }

    #[test]
    fn pods_fold_first_then_services() {
        let mut guard = SeriesGuard::new(4, vec![(Arc::from("host.name"), Arc::from("n1"))]);
        let mut services: Vec<Service> = (0..5).map(|number| pod("cart", number)).collect();
        services.extend([pod("web", 0), pod("cart", 9), pod("db", 0), service("plain", &[], 1), pod("cart", 0)]);
        let folded = guard.fold(window(services), Instant::now());
        assert_eq!(
            shown(&folded.profile),
            [
                "cart k8s.namespace.name=shop k8s.pod.name=pod-0: 2",
                "cart k8s.namespace.name=shop k8s.pod.name=pod-1: 1",
                "cart k8s.namespace.name=shop k8s.pod.name=pod-2: 1",
                "cart k8s.namespace.name=shop k8s.pod.name=other: 3",
                "other host.name=n1: 3",
            ]
        );
        assert_eq!((folded.samples, folded.series), (6, 5));
    }

    #[test]
    fn ten_thousand_services_are_at_most_the_limit_and_no_sample_is_lost() {
        let mut guard = SeriesGuard::new(200, vec![]);
        let mut seen = std::collections::HashSet::new();
        let start = Instant::now();
        for minute in 0..5 {
            let services = (0..10_000).map(|number| match number % 3 {
                0 => service(&format!("svc-{minute}-{number}"), &[], number),
                1 => service("one", &[("process.pid", &format!("{minute}-{number}"))], number),
                _ => service("many", &[("service_version", &format!("{minute}-{number}"))], number),
            });
            let folded = guard.fold(window(services.collect()), start + Duration::from_secs(60 * minute));
            assert_eq!(folded.profile.sample_count(), (0..10_000).sum::<u64>());
            let own = folded.profile.services.iter().filter(|service| &*service.name != "other");
            assert!(own.clone().count() <= 200 && folded.series == 201, "{}", folded.series);
            assert!(folded.samples > 0);
            seen.extend(folded.profile.services.iter().map(|service| (service.name.clone(), service.labels.clone())));
        }
        assert!(seen.len() <= 201, "{}", seen.len());
    }

    #[test]
    fn what_was_not_seen_for_an_hour_makes_room() {
        let mut guard = SeriesGuard::new(2, vec![]);
        let start = Instant::now();
        let names = |guard: &mut SeriesGuard, names: &[&str], s: u64| {
            let services = names.iter().map(|name| service(name, &[], 1)).collect();
            shown(&guard.fold(window(services), start + Duration::from_secs(s)).profile)
        };
        assert_eq!(names(&mut guard, &["a", "b", "c"], 0), ["a: 1", "b: 1", "other: 1"]);
        assert_eq!(names(&mut guard, &["a", "c"], 1800), ["a: 1", "other: 1"]);
        assert_eq!(names(&mut guard, &["a", "c", "b"], 3600), ["a: 1", "other: 2"]);
        assert_eq!(names(&mut guard, &["a", "c", "b"], 7201), ["a: 1", "c: 1", "other: 1"]);
    }

    #[test]
    fn instance_labels_are_known_in_both_spellings() {
        for key in ["k8s.pod.name", "k8s_pod_name", "process.pid", "process_executable_name", "container_id"] {
            assert!(is_of_instance(key), "{key}");
        }
        for key in ["k8s.namespace.name", "k8s.pod.names", "processes", "container", "host.name", "k8s.pod"] {
            assert!(!is_of_instance(key), "{key}");
        }
    }
}
