//! The configuration: not foreign, but typed by people, and its patterns meet foreign text.

use crate::config;
use crate::profile::{Profile, Sample, Service};
use crate::relabel::{ACTIONS, Pattern, Relabelled, Rule, Rules};
use arbitrary::{Result, Unstructured};
use std::sync::Arc;

/// Bytes of one piece of text at most.
const MAX_TEXT_BYTES: usize = 256;

/// A configuration file: it is checked, and each mistake has a place in it.
pub fn config_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Err(mistakes) = config::check_text(&text, "fuzzed") else { return };
    let lines = text.split('\n').count();
    for mistake in &mistakes.0 {
        let config::Origin::File { line, column, .. } = mistake.origin else { panic!("{mistake} is nowhere") };
        assert!((1..=lines).contains(&line) && column >= 1, "{mistake}");
        let width = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
        assert!(column <= width + 1, "{mistake}: column of {width}");
    }
}

/// Rules with any pattern on services with any names and labels: every sample stays or is said to be dropped.
pub fn relabel(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(rules) = rules(&mut input) else { return };
    let mut services = Vec::new();
    while let Ok(service) = service(&mut input) {
        services.push(service);
    }
    let profile = Profile { services, ..Profile::default() };
    let taken = profile.sample_count();
    let shared = [(Arc::from("host.name"), Arc::from("n1"))];
    let Relabelled { profile, dropped } = rules.apply(profile, &shared);
    assert_eq!(profile.sample_count() + dropped, taken);
    for service in &profile.services {
        assert!(service.labels.is_sorted() && service.labels.iter().all(|(_, value)| !value.is_empty()));
    }
}

fn text(input: &mut Unstructured<'_>) -> Result<String> {
    let length = usize::from(input.arbitrary::<u8>()?).min(MAX_TEXT_BYTES);
    Ok(String::from_utf8_lossy(input.bytes(length.min(input.len()))?).into_owned())
}

/// One to four rules without a fault.
fn rules(input: &mut Unstructured<'_>) -> Result<Rules> {
    let mut rules = Vec::new();
    for _ in 0..input.int_in_range(1..=4)? {
        let (_, action) = *input.choose(ACTIONS)?;
        let (Ok(plain), Ok(regex)) = (Rule::new(), Pattern::new(&text(input)?)) else { continue };
        let source_labels = (0..input.int_in_range(0..=2)?).map(|_| text(input)).collect::<Result<_>>()?;
        let (target_label, replacement) = (text(input)?, text(input)?);
        let modulus = input.arbitrary()?;
        let rule = Rule { action, regex, source_labels, target_label, replacement, modulus, ..plain };
        if rule.faults().is_empty() {
            rules.push(rule);
        }
    }
    Ok(Rules::new(rules))
}

fn service(input: &mut Unstructured<'_>) -> Result<Service> {
    if input.is_empty() {
        return Err(arbitrary::Error::NotEnoughData);
    }
    let name = text(input)?.into();
    let mut labels: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for _ in 0..input.int_in_range(0..=3)? {
        labels.push((text(input)?.into(), text(input)?.into()));
    }
    let samples = vec![Sample { stack: 0, thread: 0, count: u64::from(input.arbitrary::<u8>()?) }];
    Ok(Service { name, labels, samples })
}
