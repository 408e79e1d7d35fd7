//! The annotated example says what the settings say.

use super::file::parse;
use super::layer::{Layer, Mistakes};
use super::setting::{Arity, SETTINGS, Setting};
use super::{build, table::TABLES};
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../../deploy/profiler.toml");
/// Another way to say what the lines before it say.
const OR: &str = "# or: ";

/// Settings of the text, which has no mistake.
fn read(text: &str) -> Layer {
    let mut mistakes = Mistakes::default();
    let layer = parse(text, "profiler.toml", &mut mistakes);
    build::check(&layer, &mut mistakes);
    build::contradictions(&layer, &mut mistakes);
    assert_eq!(mistakes.in_order().0, [], "{text}");
    layer
}

/// A line that begins with `#` and no space is a setting or the head of a table.
fn switched_on(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
}

fn with_all_switched_on() -> String {
    EXAMPLE.lines().map(|line| format!("{}\n", switched_on(line).unwrap_or(line))).collect()
}

#[test]
fn the_example_as_it_is_says_nothing() {
    let layer = read(EXAMPLE);
    assert_eq!((layer.iter().count(), layer.tables().len()), (0, 0));
}

#[test]
fn every_setting_and_every_key_of_tables_is_in_the_example() {
    let lines = EXAMPLE.lines().filter_map(|line| line.strip_prefix(OR).or_else(|| switched_on(line)));
    let found: BTreeSet<&str> = lines.map(|line| line.split(" = ").next().unwrap_or_default()).collect();
    let settings = SETTINGS.iter().filter(|setting| setting.in_file() && !setting.hidden);
    let wanted: BTreeSet<&str> = settings.map(|setting| setting.key).chain(keys_of_tables()).collect();
    let heads = BTreeSet::from(["[[relabel]]", "[[service]]"]);
    assert_eq!(found, &wanted | &heads);
}

fn keys_of_tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().flat_map(|kind| kind.keys).map(|key| key.key)
}

#[test]
fn every_line_of_the_example_can_be_switched_on() {
    let layer = read(&with_all_switched_on());
    assert_eq!(layer.tables().len(), 5);
    // The other way to authenticate.
    let text = with_all_switched_on();
    let lines = text.lines().filter(|line| !line.contains("bearer-token-file"));
    let other: String = lines.map(|line| format!("{}\n", line.strip_prefix(OR).unwrap_or(line))).collect();
    assert_eq!(read(&other).items("basic-auth-user")[0].text, "profiler");
}

#[test]
fn the_example_says_the_defaults() {
    let layer = read(&with_all_switched_on());
    for setting in SETTINGS.iter().filter(|setting| setting.in_file() && !setting.default.is_empty()) {
        let texts: Vec<&str> = layer.items(setting.key).iter().map(|item| item.text.as_str()).collect();
        assert_eq!(texts.join(","), setting.default, "{}", setting.key);
    }
    let switches = SETTINGS.iter().filter(|setting| setting.arity == Arity::Switch && !setting.hidden);
    assert!(switches.map(|setting: &Setting| setting.default).all(|default| default == "false"));
}
