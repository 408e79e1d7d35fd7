//! `config show`: the effective configuration as a file, with where each value came from.

use super::build::{Settings, effective};
use super::layer::Origin;
use super::setting::{Arity, SETTINGS, Setting};
use super::table::{Field, Shape, Table};
use std::fmt::Write as _;

/// Stands for a secret.
const MASK: &str = "***";

/// TOML that `--config` takes, but for masked secrets.
#[must_use]
pub fn show(settings: &Settings) -> String {
    let mut text = String::new();
    for setting in SETTINGS.iter().filter(|setting| setting.in_file() && !setting.hidden) {
        let (values, origin) = effective(settings, setting);
        let _ = match (values.as_slice(), &origin) {
            ([], Origin::Default) => writeln!(text, "# {} is not set", setting.key),
            _ => writeln!(text, "{} = {}  # {origin}", setting.key, literal(setting, &values)),
        };
    }
    // After a table's head every key would be its own.
    settings.tables().iter().for_each(|shown| table(&mut text, shown));
    text
}

fn table(text: &mut String, table: &Table) {
    let _ = writeln!(text, "\n[[{}]]  # {}", table.kind, table.origin);
    for (key, field) in &table.fields {
        let _ = writeln!(text, "{key} = {}  # {}", field_literal(field), field.origin);
    }
}

fn field_literal(field: &Field) -> String {
    let texts = || field.texts.iter().map(|text| quoted(text));
    match field.shape {
        Shape::Number => field.texts.concat(),
        Shape::Text => texts().collect(),
        Shape::Texts => format!("[{}]", texts().collect::<Vec<_>>().join(", ")),
    }
}

fn literal(setting: &Setting, values: &[String]) -> String {
    let one = |value: &String| match setting.arity {
        Arity::Switch => (value == "true" || value == "1").to_string(),
        _ if value.parse::<u32>().is_ok_and(|number| number.to_string() == *value) => value.clone(),
        _ => quoted(&masked(setting, value)),
    };
    match setting.arity {
        Arity::One | Arity::Switch => values.last().map(one).unwrap_or_default(),
        Arity::List | Arity::Pairs => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

fn masked(setting: &Setting, value: &str) -> String {
    match value.split_once('=') {
        Some((name, _)) if setting.key == "header" => format!("{}={MASK}", name.trim()),
        _ => value.to_owned(),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
