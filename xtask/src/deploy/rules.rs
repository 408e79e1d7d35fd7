//! Alerts and dashboards: rules are checked and tested by promtool, queries parse and name metrics that the agent exposes.

use super::generate::files_of;
use super::manifest;
use super::outcome::Outcome;
use super::render::Tools;
use crate::places;
use crate::shell::{command, output};
use anyhow::{Context, Result};
use regex_lite::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Metrics that others expose and that the dashboards may name.
const OF_OTHERS: &[&str] = &["up", "process_resident_memory_bytes", "process_cpu_seconds_total"];

/// What Pyroscope makes of what the agent sends.
const PROFILE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// Checks all of it.
pub(super) fn verify(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let chart = places::workspace().join("deploy/charts/profiler-agent");
    let metrics = exposed()?;
    let rules = files_below(&chart.join("rules"), "yaml")?;
    outcome.expect(!rules.is_empty(), || "the agent's chart has no rules".to_owned());
    for path in &rules {
        let is_test = path.file_stem().is_some_and(|name| name.to_string_lossy().contains("test"));
        let verb: &[&str] = if is_test { &["test", "rules"] } else { &["check", "rules"] };
        let mut promtool = command(&tools.promtool, verb);
        let result = output(promtool.arg(path)).map(drop);
        outcome.check(&super::shown(path), result);
        if !is_test {
            let mut queries = Vec::new();
            manifest::read(path)?.iter().for_each(|rules| expressions(rules, "expr", &mut queries));
            check_queries(path, &queries, &metrics, tools, outcome)?;
        }
    }
    let tests = rules.iter().filter(|path| path.to_string_lossy().contains("test")).count();
    outcome.expect(tests > 0, || "the rules have no tests".to_owned());
    let dashboards = files_below(&chart.join("dashboards"), "json")?;
    outcome.expect(!dashboards.is_empty(), || "the agent's chart has no dashboards".to_owned());
    for path in dashboards {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let mut queries = Vec::new();
        expressions(&dashboard, "expr", &mut queries);
        // Those of Pyroscope are no PromQL: a type of profile and a selector.
        let mut profiles = Vec::new();
        expressions(&dashboard, "profileTypeId", &mut profiles);
        let asks = !queries.is_empty() || !profiles.is_empty();
        outcome.expect(asks, || format!("{} asks for nothing", super::shown(&path)));
        for profile in profiles {
            outcome.expect(profile == PROFILE, || format!("{} asks for {profile}", super::shown(&path)));
        }
        check_queries(&path, &queries, &metrics, tools, outcome)?;
    }
    Ok(())
}

/// Files of a folder and of those in it.
fn files_below(folder: &Path, extension: &str) -> Result<Vec<std::path::PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = files_of(folder, extension)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path, extension)?);
        }
    }
    Ok(files)
}

/// Names in the agent's sources: every metric is named there in full, once.
fn exposed() -> Result<BTreeSet<String>> {
    let pattern = Regex::new(r#""((?:profiler|process)_[a-z_]+)""#)?;
    let mut names: BTreeSet<String> = OF_OTHERS.iter().map(|name| (*name).to_owned()).collect();
    for path in files_below(&places::workspace().join("profiler-agent/src"), "rs")? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        names.extend(pattern.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    Ok(names)
}

/// Every string under a key of this name.
fn expressions(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| expressions(item, key, found)),
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| expressions(field, key, found));
        }
        _ => {}
    }
}

fn check_queries(
    path: &Path,
    queries: &[String],
    metrics: &BTreeSet<String>,
    tools: &Tools,
    outcome: &mut Outcome,
) -> Result<()> {
    let names = Regex::new(r"\b(?:profiler|process)_[a-z_]+\b")?;
    for query in queries {
        let plain = without_variables(query)?;
        let parses = output(command(&tools.promtool, ["--experimental", "promql", "format"]).arg(&plain)).map(drop);
        outcome.check(&format!("{}: {query}", super::shown(path)), parses);
        let found: Vec<&str> = names.find_iter(&plain).map(|name| name.as_str()).collect();
        outcome.expect(!found.is_empty() || OF_OTHERS.iter().any(|name| plain.contains(name)), || {
            format!("{}: {query} names no metric of the agent", super::shown(path))
        });
        for name in found {
            outcome.expect(metrics.contains(name), || format!("{}: the agent exposes no {name}", super::shown(path)));
        }
    }
    Ok(())
}

/// Grafana's variables as something that PromQL has in their place.
fn without_variables(query: &str) -> Result<String> {
    let intervals = Regex::new(r"\[\$(?:__[a-z_]+|[a-z]+|\{[a-z_:]+\})(:[^\]]*)?\]")?;
    let others = Regex::new(r"\$(?:\{[A-Za-z_:]+\}|[A-Za-z_]+)")?;
    let query = intervals.replace_all(query, "[5m]");
    Ok(others.replace_all(&query, "x").into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_promql() {
        let query = r#"rate(a{n=~"$node"}[$__rate_interval]) / ${total:raw}"#;
        assert_eq!(without_variables(query).unwrap(), r#"rate(a{n=~"x"}[5m]) / x"#);
    }
}
