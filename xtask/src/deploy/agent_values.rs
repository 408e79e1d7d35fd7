//! README.md of the agent's chart: a table of its values, from the comments in values.yaml.
//!
//! A value is a key with a comment that begins with `# --`; it goes on in the comment lines below. Its default is what
//! stands behind the key, and below it.

use super::generate::Generated;
use crate::places;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// What stands above the table.
const HEAD: &str = "<!-- Written by `cargo xtask deploy` from values.yaml; do not edit. -->\n\n# profiler-agent\n\n\
                    The continuous profiler on every node of a cluster.\n\n    \
                    helm install profiler deploy/charts/profiler-agent --namespace profiler --create-namespace \\\n        \
                    --values deploy/charts/profiler-agent/values-production.yaml \\\n        \
                    --set 'agent.endpoints={http://pyroscope.pyroscope.svc.cluster.local:4040}'\n    \
                    kubectl label namespace profiler pod-security.kubernetes.io/enforce=privileged\n    \
                    helm test profiler --namespace profiler --logs\n\n";

/// A documented value.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    key: String,
    default: String,
    text: String,
}

/// The file.
pub(super) fn readme() -> Result<Generated> {
    let chart: PathBuf = places::workspace().join("deploy/charts/profiler-agent");
    let values = chart.join("values.yaml");
    let values = std::fs::read_to_string(&values).with_context(|| format!("cannot read {}", values.display()))?;
    let mut text = format!("{HEAD}| value | default | |\n|---|---|---|\n");
    for Row { key, default, text: meaning } in rows(&values) {
        text += &format!("| `{key}` | `{default}` | {} |\n", meaning.replace('|', "\\|"));
    }
    Ok(Generated { path: chart.join("README.md"), text })
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
        } else if let Some((key, value)) = trimmed.split_once(':') {
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

#[cfg(test)]
mod tests {
    use super::*;

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
