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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Owner;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn rule(of_pod: &[(&str, &str)], of_namespace: &[(&str, &str)], default_enabled: bool) -> Rule {
        let pod = Pod {
            uid: "u".into(),
            namespace: "shop".into(),
            name: "web-0".into(),
            node: None,
            owner: Owner { kind: "Pod".into(), name: "web-0".into() },
            labels: BTreeMap::new(),
            annotations: pairs(of_pod),
            containers: vec![],
            ended: false,
            ids: vec![],
        };
        decide(&pod, &pairs(of_namespace), &KubernetesConfig { default_enabled, ..Default::default() })
    }

    #[test]
    fn a_pod_goes_before_its_namespace_and_that_before_what_holds_for_all() {
        let (no, yes) = (("profiler/enabled", "false"), ("profiler/enabled", "true"));
        let grafana = ("profiles.grafana.com/cpu.ebpf.enabled", "false");
        assert_eq!(rule(&[], &[], true), Rule::Sampled);
        assert_eq!(rule(&[], &[], false), Rule::Excluded);
        assert_eq!(rule(&[no], &[yes], true), Rule::Excluded);
        assert_eq!(rule(&[yes], &[no], false), Rule::Sampled);
        assert_eq!(rule(&[], &[no], true), Rule::Excluded);
        assert_eq!(rule(&[grafana], &[], true), Rule::Excluded);
        assert_eq!(rule(&[yes, grafana], &[], true), Rule::Sampled);
        // What is neither true nor false says nothing.
        assert_eq!(rule(&[("profiler/enabled", "no")], &[], true), Rule::Sampled);
    }

    #[test]
    fn frequencies_are_bounded() {
        let of = |hz| rule(&[("profiler/frequency", hz)], &[("profiler/frequency", "11")], true);
        assert_eq!([of("97"), of(" 5 "), of("1000")], [97, 5, 1000].map(Rule::Frequency));
        assert_eq!([of("0"), of("1001"), of("-1"), of("often")], [Rule::Frequency(11); 4]);
        assert_eq!(rule(&[("profiler/frequency", "97"), ("profiler/enabled", "false")], &[], true), Rule::Excluded);
    }
}
