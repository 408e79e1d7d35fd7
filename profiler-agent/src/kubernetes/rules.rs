//! What pods and their namespaces say of their own sampling.

use super::config::KubernetesConfig;
use super::pod::Pod;
use crate::bpf::Rule;
use std::collections::BTreeMap;

/// Annotations that other collectors know, too: `true` or `false`.
const GRAFANA_ENABLED: &str = "profiles.grafana.com/cpu.ebpf.enabled";
/// Frequencies that are followed.
const FREQUENCIES_HZ: std::ops::RangeInclusive<u32> = 1..=1000;

/// The rule of a pod, by its own annotations, then those of its namespace, then what holds for all.
pub(super) fn decide(pod: &Pod, namespace: &BTreeMap<String, String>, config: &KubernetesConfig) -> Rule {
    let prefixed = |name: &str| format!("{}/{name}", config.annotation_prefix);
    let keys = [prefixed("enabled"), GRAFANA_ENABLED.to_owned()];
    let enabled =
        |all: &BTreeMap<String, String>| keys.iter().find_map(|key| all.get(key)?.trim().parse::<bool>().ok());
    let enabled = enabled(&pod.annotations).or_else(|| enabled(namespace)).unwrap_or(config.default_enabled);
    if !enabled {
        return Rule::Excluded;
    }
    let key = prefixed("frequency");
    let hz = |all: &BTreeMap<String, String>| {
        all.get(&key)?.trim().parse::<u32>().ok().filter(|hz| FREQUENCIES_HZ.contains(hz))
    };
    hz(&pod.annotations).or_else(|| hz(namespace)).map_or(Rule::Sampled, Rule::Frequency)
}
