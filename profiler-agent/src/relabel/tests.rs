use super::*;
use crate::profile::Sample;

/// What `shop` on `node1` becomes.
fn relabelled(rules: Vec<Rule>) -> Option<String> {
    let labels = [("k8s.namespace.name", "Prod"), ("k8s.pod.name", "shop-7f9c-x1"), ("service.version", "1.2")];
    let shared = [(Arc::from("host.name"), Arc::from("node1"))];
    let profile = Profile { services: vec![service("shop", &labels, 0, 7)], ..Profile::default() };
    let Relabelled { profile, dropped } = Rules::new(rules).apply(profile, &shared);
    let Some(service) = profile.services.first() else {
        assert_eq!(dropped, 7);
        return None;
    };
    assert_eq!((dropped, service.sample_count()), (0, 7));
    let labels = service.labels.iter().map(|(key, value)| format!(" {key}={value}"));
    Some(format!("{}{}", service.name, labels.collect::<String>()))
}

fn service(name: &str, labels: &[(&str, &str)], stack: u32, count: u64) -> Service {
    let labels = labels.iter().map(|&(key, value)| (Arc::from(key), Arc::from(value))).collect();
    Service { name: name.into(), labels, samples: vec![Sample { stack, thread: 0, count }] }
}

fn rule(action: Action, sources: &[&str], regex: &str, target: &str, replacement: &str) -> Rule {
    let rule = Rule {
        source_labels: sources.iter().map(|&label| label.to_owned()).collect(),
        regex: Pattern::new(regex).unwrap(),
        target_label: target.into(),
        replacement: replacement.into(),
        action,
        ..Rule::new().unwrap()
    };
    assert_eq!(rule.faults(), []);
    rule
}

const AS_IT_WAS: &str = "shop host.name=node1 k8s.namespace.name=Prod k8s.pod.name=shop-7f9c-x1 service.version=1.2";

#[test]
fn without_rules_nothing_changes() {
    assert_eq!(relabelled(vec![]).unwrap(), AS_IT_WAS);
}

#[test]
fn replace_sets_removes_and_leaves_labels() {
    let cases = [
        // Both spellings of a label are the same one, which keeps its key.
        (vec!["k8s_pod_name"], "(.+?)-.*", "k8s.pod.name", "$1", "k8s.pod.name=shop "),
        (vec!["k8s.pod.name"], "(.+?)-.*", "k8s_pod_name", "${1}s", "k8s.pod.name=shops "),
        (vec!["k8s.namespace.name", "service_name"], "(.*);(.*)", "team", "$2.$1", "team=shop.Prod"),
        (vec!["service.name"], "(?P<first>.).*", "team", "${first}$$", "team=s$"),
        (vec![], "(.*)", "team", "web", "team=web"),
        (vec!["service_name"], "(s)hop", "${1}ize", "big", "size=big"),
    ];
    for (sources, regex, target, replacement, wanted) in cases {
        let found = relabelled(vec![rule(Action::Replace, &sources, regex, target, replacement)]).unwrap();
        assert!(format!("{found} ").contains(&format!(" {} ", wanted.trim())), "{wanted} is not in {found}");
    }
    let removed = relabelled(vec![rule(Action::Replace, &["service_name"], ".*", "k8s.pod.name", "")]).unwrap();
    assert_eq!(removed, "shop host.name=node1 k8s.namespace.name=Prod service.version=1.2");
    let no_match = rule(Action::Replace, &["service_name"], "sho", "team", "web");
    assert_eq!(relabelled(vec![no_match]).unwrap(), AS_IT_WAS);
    let no_name = rule(Action::Replace, &["k8s_pod_name"], "(.*)", "$1", "x");
    assert_eq!(relabelled(vec![no_name]).unwrap(), AS_IT_WAS);
}

#[test]
fn the_name_of_a_service_is_a_label() {
    let found = relabelled(vec![
        rule(Action::Replace, &["k8s_namespace_name", "service_name"], "(.*);(.*)", "service_name", "$1/$2"),
        rule(Action::LabelDrop, &[], "k8s_.*|host_name", "", "$1"),
    ]);
    assert_eq!(found.unwrap(), "Prod/shop service.version=1.2");
    assert_eq!(relabelled(vec![rule(Action::LabelKeep, &[], "host_name", "", "$1")]).unwrap(), " host.name=node1");
}

#[test]
fn keep_and_drop_decide_by_the_joined_sources() {
    let cases = [
        (Action::Keep, vec!["service_name"], "shop|cart", true),
        (Action::Keep, vec!["service_name"], "sho", false),
        (Action::Drop, vec!["service_name"], "sho", true),
        (Action::Drop, vec!["service_name", "host_name"], "shop;node.", false),
        (Action::Keep, vec!["no_such_label"], "", true),
        (Action::Drop, vec!["no_such_label"], ".+", true),
    ];
    for (action, sources, regex, stays) in cases {
        let found = relabelled(vec![rule(action, &sources, regex, "", "$1")]);
        assert_eq!(found.is_some(), stays, "{action:?} {sources:?} {regex}");
    }
    let equal = |action, sources: &[&str]| relabelled(vec![rule(action, sources, "(.*)", "service.name", "$1")]);
    assert!(equal(Action::KeepEqual, &["service_name"]).is_some() && equal(Action::KeepEqual, &[]).is_none());
    assert!(equal(Action::DropEqual, &["service_name"]).is_none() && equal(Action::DropEqual, &[]).is_some());
}

#[test]
fn case_hash_and_names_of_labels() {
    let lower = rule(Action::Lowercase, &["k8s_namespace_name"], "(.*)", "k8s_namespace_name", "$1");
    assert!(relabelled(vec![lower]).unwrap().contains("k8s.namespace.name=prod"));
    let upper = rule(Action::Uppercase, &["service_name", "host_name"], "(.*)", "__tmp", "$1");
    let back = rule(Action::Replace, &["__tmp"], "(.*)", "loud", "$1");
    assert!(relabelled(vec![upper, back]).unwrap().contains(" loud=SHOP;NODE1 "));
    // md5("shop") = fb54f3c5992b96d001bb16e8e92d968d
    let hash = Rule { modulus: 1000, ..rule_without_check(Action::HashMod, "shard") };
    let shard = 0x01bb_16e8_e92d_968d_u64 % 1000;
    assert!(relabelled(vec![hash]).unwrap().contains(&format!(" shard={shard}")));
    let map = rule(Action::LabelMap, &[], "k8s_(.+)_name", "", "kube_$1");
    let mapped = relabelled(vec![map]).unwrap();
    assert!(mapped.contains(" kube_namespace=Prod kube_pod=shop-7f9c-x1 "), "{mapped}");
}

fn rule_without_check(action: Action, target: &str) -> Rule {
    let source_labels = vec!["service_name".to_owned()];
    Rule { action, target_label: target.into(), source_labels, ..Rule::new().unwrap() }
}

#[test]
fn services_that_become_equal_become_one() {
    let services = vec![
        service("a", &[("k8s.pod.name", "1")], 0, 5),
        service("b", &[], 0, 1),
        service("a", &[("k8s.pod.name", "2")], 0, 6),
        service("a", &[("k8s.pod.name", "3")], 1, 7),
    ];
    let rules = Rules::new(vec![rule(Action::LabelDrop, &[], "k8s_pod_name", "", "$1")]);
    let found = rules.apply(Profile { services, ..Profile::default() }, &[]);
    let sample = |stack, count| Sample { stack, thread: 0, count };
    let wanted = [
        Service { name: "a".into(), labels: vec![], samples: vec![sample(0, 11), sample(1, 7)] },
        Service { name: "b".into(), labels: vec![], samples: vec![sample(0, 1)] },
    ];
    assert_eq!((found.profile.services.as_slice(), found.dropped), (wanted.as_slice(), 0));
}

#[test]
fn faults_name_the_key() {
    let base = || Rule::new().unwrap();
    let keys = |rule: Rule| rule.faults().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(base()), ["target-label"]);
    for target in ["1a", "a-b", "a b", "${1", "$", "a$-"] {
        assert_eq!(keys(Rule { target_label: target.into(), ..base() }), ["target-label"], "{target}");
    }
    assert_eq!(keys(Rule { action: Action::HashMod, target_label: "a".into(), ..base() }), ["modulus"]);
    assert_eq!(keys(Rule { action: Action::LabelMap, replacement: "a-$1".into(), ..base() }), ["replacement"]);
    assert_eq!(
        keys(Rule { action: Action::Lowercase, replacement: "x".into(), ..base() }),
        ["target-label", "replacement"]
    );
    let all = Rule {
        action: Action::LabelDrop,
        source_labels: vec!["a".into()],
        separator: ",".into(),
        modulus: 1,
        target_label: "a".into(),
        replacement: "a".into(),
        ..base()
    };
    assert_eq!(keys(all), ["source-labels", "separator", "modulus", "target-label", "replacement"]);
}
