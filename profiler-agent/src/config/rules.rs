//! From tables of the file to relabel rules and frequencies of services.

use super::ServiceFrequency;
use super::layer::{Layer, Mistakes, Origin};
use super::table::{RELABEL, SERVICE, Table};
use super::value::{self, Wrong};
use crate::relabel::{ACTIONS, Pattern, Rule};
use profiler_common::control::RATES;
use std::collections::BTreeSet;

/// Different frequencies of services: the kernel program has a table of rates, the first is that of all others.
const MAX_FREQUENCIES: usize = RATES as usize - 1;

/// Rules in the order of the file; one with a mistake is left out.
pub(super) fn relabel(layer: &Layer, mistakes: &mut Mistakes) -> Vec<Rule> {
    let tables = layer.tables().iter().filter(|table| table.kind == RELABEL);
    tables.filter_map(|table| rule(table, mistakes)).collect()
}

fn rule(table: &Table, mistakes: &mut Mistakes) -> Option<Rule> {
    let before = mistakes.0.len();
    let mut wrong = |origin, text| mistakes.add(origin, text);
    let mut rule = Rule::new().ok()?;
    let action = table.parsed("action", |text| value::word(text, ACTIONS), &mut wrong);
    rule.action = action.unwrap_or_default();
    if let Some(regex) = table.parsed("regex", pattern, &mut wrong) {
        rule.regex = regex;
    }
    rule.modulus = table.parsed("modulus", number, &mut wrong).unwrap_or_default();
    rule.source_labels = table.fields.get("source-labels").map(|field| field.texts.clone()).unwrap_or_default();
    let text = |key, default: String| table.text(key).map_or(default, str::to_owned);
    rule.separator = text("separator", rule.separator);
    rule.target_label = text("target-label", rule.target_label);
    rule.replacement = text("replacement", rule.replacement);
    // Without its action nobody knows what else is wrong with it.
    if action.is_some() || table.text("action").is_none() {
        for (key, why) in rule.faults() {
            mistakes.add(table.place(key), format!("{RELABEL} {key}: {why}"));
        }
    }
    (mistakes.0.len() == before).then_some(rule)
}

/// Frequencies in the order of the file.
pub(super) fn frequencies(layer: &Layer, mistakes: &mut Mistakes) -> Vec<ServiceFrequency> {
    let tables = layer.tables().iter().filter(|table| table.kind == SERVICE);
    let (mut found, mut distinct) = (Vec::new(), BTreeSet::new());
    for table in tables {
        let Some(one) = frequency(table, mistakes) else { continue };
        if distinct.insert(one.hz) && distinct.len() == MAX_FREQUENCIES + 1 {
            let text = format!("{SERVICE} with a further frequency; {MAX_FREQUENCIES} different ones at most");
            mistakes.add(table.origin.clone(), text);
        }
        found.push(one);
    }
    found
}

fn frequency(table: &Table, mistakes: &mut Mistakes) -> Option<ServiceFrequency> {
    for key in ["name", "frequency"] {
        if table.text(key).is_none() {
            mistakes.add(table.origin.clone(), format!("{SERVICE} without {key}; both name and frequency"));
        }
    }
    let mut wrong = |origin: Origin, text| mistakes.add(origin, text);
    let name = table.parsed("name", pattern, &mut wrong);
    let hz = table.parsed("frequency", value::frequency, &mut wrong);
    Some(ServiceFrequency { name: name?, hz: hz? })
}

fn pattern(text: &str) -> Result<Pattern, Wrong> {
    Pattern::new(text).map_err(|error| Wrong(error.to_string()))
}

fn number(text: &str) -> Result<u64, Wrong> {
    text.parse().map_err(|_| Wrong("is no number; a whole number from 0".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;
    use crate::relabel::Action;

    fn read(text: &str) -> (Vec<Rule>, Vec<ServiceFrequency>, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let layer = parse(text, "p.toml", &mut mistakes);
        let rules = relabel(&layer, &mut mistakes);
        let frequencies = frequencies(&layer, &mut mistakes);
        (rules, frequencies, mistakes.in_order().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn tables_become_rules_with_prometheus_defaults() {
        let (rules, frequencies, mistakes) = read(
            "frequency = 19\n\
             [[relabel]]\nsource-labels = [\"k8s.pod.name\", \"a\"]\ntarget-label = \"pod\"\n\
             [[service]]\nname = \"shop|cart\"\nfrequency = 99\n\
             [[relabel]]\naction = \"drop\"\nsource-labels = \"service_name\"\nregex = \"kube-.*\"\n\
             [[service]]\nname = \".*\"\nfrequency = 7\n",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let Rule { source_labels, separator, replacement, action, .. } = &rules[0];
        assert_eq!((source_labels.join(" "), separator.as_str()), ("k8s.pod.name a".to_owned(), ";"));
        assert_eq!((replacement.as_str(), *action, rules[0].regex.as_str()), ("$1", Action::Replace, "(.*)"));
        assert_eq!((rules.len(), rules[1].action, rules[1].regex.as_str()), (2, Action::Drop, "kube-.*"));
        assert_eq!(rules[1].source_labels, ["service_name"]);
        let of = |service: &str| frequencies.iter().find_map(|frequency| frequency.of(service));
        assert_eq!((of("shop"), of("shops"), of("cart")), (Some(99), Some(7), Some(99)));
    }

    #[test]
    fn different_frequencies_are_bounded() {
        let table = |hz: usize| format!("[[service]]\nname = \"s{hz}\"\nfrequency = {hz}\n");
        let tables = |count: usize| (1..=count).map(table).collect::<String>() + &table(1);
        assert_eq!(read(&tables(MAX_FREQUENCIES)).2, Vec::<String>::new());
        let wrong = "p.toml:46:1: service with a further frequency; 15 different ones at most";
        assert_eq!(read(&tables(MAX_FREQUENCIES + 3)).2, [wrong]);
    }

    #[test]
    fn every_mistake_of_a_table_has_its_place() {
        let (rules, frequencies, mistakes) = read(
            "[[relabel]]\nsource_labels = [\"a\"]\nregex = \"(\"\naction = \"drp\"\n\
             [[relabel]]\nmodulus = \"x\"\nseparator = 1\nsource-labels = [\"a\", 2]\ntarget-label = \"a-b\"\n\
             [[relabel]]\naction = \"hashmod\"\nmodulus = 0\n\
             [[service]]\nfrequency = 0\n\
             [service2]\nrelabel = 1\n",
        );
        assert_eq!((rules, frequencies), (vec![], vec![]));
        assert_eq!(
            mistakes,
            [
                "p.toml:2:1: unknown key \"source_labels\"; did you mean source-labels?",
                "p.toml:3:9: relabel regex \"(\" is no regular expression: found open group without closing ')'",
                "p.toml:4:10: relabel action \"drp\" is unknown; one of replace, keep, drop, hashmod, labelmap, \
                 labeldrop, labelkeep, lowercase, uppercase, keepequal, dropequal",
                "p.toml:6:11: relabel modulus: must be a whole number",
                "p.toml:7:13: relabel separator: must be a string",
                "p.toml:8:23: relabel source-labels: must be an array of strings",
                "p.toml:9:16: relabel target-label: \"a-b\" is no label; letters, digits, _ and ., not a digit first",
                "p.toml:10:1: relabel target-label: hashmod needs one",
                "p.toml:12:11: relabel modulus: hashmod needs a modulus from 1",
                "p.toml:13:1: service without name; both name and frequency",
                "p.toml:14:13: service frequency \"0\" is out of range; Hz per CPU from 1 to 10000",
                "p.toml:15:2: unknown key \"service2\"; did you mean service?",
            ]
        );
        assert_eq!(read("service = 1").2, ["p.toml:1:11: service: must be tables, each below [[service]]"]);
        assert_eq!(read("[relabel]\n").2, ["p.toml:1:1: relabel: must be tables, each below [[relabel]]"]);
    }
}
