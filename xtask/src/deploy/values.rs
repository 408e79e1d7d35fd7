//! Tables in deploy/README.md and in that of the agent's chart: which versions, and which values our charts have.
//!
//! A value is a key with a comment that begins with `# --`; it goes on in the comment lines below. Its default is what
//! stands behind the key, or below it.

use super::generate::Generated;
use super::versions::Versions;
use crate::places;
use anyhow::{Context, Result};
use std::path::Path;

/// Charts whose values are in deploy/README.md.
const OF_STACK: [&str; 4] = ["kalypso-otel", "kalypso-mimir", "kalypso-pyroscope", "kalypso-grafana"];
const AGENT: &str = "profiler-agent";

/// Files with such tables.
pub(super) fn tables(versions: &Versions) -> Result<Vec<Generated>> {
    let deploy = places::workspace().join("deploy");
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let with_values = |text: &str, chart: &str| {
        let values = read(&deploy.join("charts").join(chart).join("values.yaml"))?;
        between(text, &format!("values of {chart}"), &value_table(&values))
    };
    let (all, agent) = (deploy.join("README.md"), deploy.join("charts").join(AGENT).join("README.md"));
    let mut text = between(&read(&all)?, "versions", &version_table(versions))?;
    for chart in OF_STACK {
        text = with_values(&text, chart)?;
    }
    let of_agent = with_values(&read(&agent)?, AGENT)?;
    Ok(vec![Generated { path: all, text }, Generated { path: agent, text: of_agent }])
}

/// The text with this in the place between `<!-- NAME -->` and `<!-- /NAME -->`.
fn between(text: &str, name: &str, table: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no {begin:?}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end:?}"))?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

fn version_table(versions: &Versions) -> String {
    let mut table =
        String::from("| chart | in | recorded | shipped | rendered by the tests |\n|---|---|---|---|---|\n");
    for chart in &versions.charts {
        let umbrella = chart.umbrella.as_deref().unwrap_or("flux");
        let recorded = chart.recorded.as_deref().unwrap_or("–");
        let rendered = match (&chart.unrendered, &chart.renders) {
            (Some(reason), _) => format!("no: {reason}"),
            (None, Some(version)) => format!("yes, from sources that call themselves {version}"),
            (None, None) => "yes".to_owned(),
        };
        table += &format!("| {} | {umbrella} | {recorded} | {} | {rendered} |\n", chart.name, chart.shipped);
    }
    table
}

/// All documented values.
fn value_table(values: &str) -> String {
    let mut table = String::from("| value | default | is |\n|---|---|---|\n");
    for Row { key, default, text } in rows(values) {
        table += &format!("| `{key}` | `{}` | {} |\n", default.replace('|', "\\|"), text.replace('|', "\\|"));
    }
    table
}

/// A documented value.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    key: String,
    default: String,
    text: String,
}

fn rows(values: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    // Keys above the line, with their indents.
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut comment: Option<String> = None;
    let lines: Vec<&str> = values.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(begun) = trimmed.strip_prefix("# -- ") {
            comment = Some(begun.to_owned());
        } else if let Some(more) = trimmed.strip_prefix("# ") {
            comment = comment.map(|begun| format!("{begun} {more}"));
        } else if let Some((key, value)) = trimmed.split_once(':').filter(|(key, _)| is_key(key)) {
            above.retain(|(of, _)| *of < indent);
            above.push((indent, key));
            if let Some(text) = comment.take() {
                let key = above.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
                let below = lines.get(at + 1..).unwrap_or_default();
                rows.push(Row { key, default: default(value.trim(), indent, below), text });
            }
        } else {
            comment = None;
        }
    }
    rows
}

/// What stands behind the key, or below it in one line.
fn default(value: &str, indent: usize, below: &[&str]) -> String {
    if !value.is_empty() {
        return value.to_owned();
    }
    let is_deeper = |line: &&&str| line.len() - line.trim_start().len() > indent && !line.trim().is_empty();
    let deeper: Vec<&str> = below.iter().take_while(is_deeper).map(|line| line.trim()).collect();
    format!("{{{}}}", deeper.join(", "))
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_a_table_between_its_marks() {
        let text = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n";
        assert_eq!(between(text, "t", "new\n").unwrap(), "a\n<!-- t -->\nnew\n<!-- /t -->\nb\n");
        assert!(between("none", "t", "").is_err());
    }

    fn row(key: &str, default: &str, text: &str) -> Row {
        Row { key: key.into(), default: default.into(), text: text.into() }
    }

    #[test]
    fn values_have_their_path_default_and_text() {
        let values = "# Of all.\nimage:\n  # -- Where\n  # it is.\n  registry: \"\"\n# -- Both.\nresources:\n  a: {b: 1}\n  c: 2\n\n# -- Last.\nend: 1\n";
        let wanted = [
            row("image.registry", "\"\"", "Where it is."),
            row("resources", "{a: {b: 1}, c: 2}", "Both."),
            row("end", "1", "Last."),
        ];
        assert_eq!(rows(values), wanted);
    }
}
