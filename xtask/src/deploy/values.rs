//! The tables in deploy/README.md: which versions, and which values the charts of the stack have of their own.

use super::generate::Generated;
use super::versions::Versions;
use crate::places;
use anyhow::{Context, Result};

/// Files with such tables.
pub(super) fn tables(versions: &Versions) -> Result<Vec<Generated>> {
    let path = places::workspace().join("deploy/README.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = between(&text, "versions", &version_table(versions))?;
    for chart in ["profiler-agent", "kalypso-otel", "kalypso-mimir", "kalypso-pyroscope", "kalypso-grafana"] {
        let values = places::workspace().join("deploy/charts").join(chart).join("values.yaml");
        let values = std::fs::read_to_string(&values).with_context(|| format!("cannot read {}", values.display()))?;
        text = between(&text, &format!("values of {chart}"), &value_table(&values))?;
    }
    Ok(vec![Generated { path, text }])
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

/// Keys that a comment beginning with `# --` explains, with their defaults.
fn value_table(values: &str) -> String {
    let mut table = String::from("| value | default | is |\n|---|---|---|\n");
    // Indentation and name of the keys above.
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut comment = String::new();
    for line in values.lines() {
        let trimmed = line.trim_start();
        if let Some(text) = trimmed.strip_prefix("# -- ") {
            text.clone_into(&mut comment);
        } else if let Some(text) = trimmed.strip_prefix("# ").filter(|_| !comment.is_empty()) {
            comment += &format!(" {text}");
        } else if let Some((key, default)) = trimmed.split_once(':').filter(|(key, _)| is_key(key)) {
            let indent = line.len() - trimmed.len();
            path.retain(|(above, _)| *above < indent);
            path.push((indent, key));
            if !comment.is_empty() {
                let name: Vec<&str> = path.iter().map(|(_, key)| *key).collect();
                let default = default.trim().replace('|', "\\|");
                let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
                table += &format!("| `{}` | {default} | {} |\n", name.join("."), comment.replace('|', "\\|"));
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
    table
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

    #[test]
    fn values_have_their_whole_names() {
        let values = "# Of a chart.\n\na:\n  # -- What\n  # b is.\n  b: 1\n  c: 2\n# -- And d.\nd: \"\"\n";
        let expected =
            "| value | default | is |\n|---|---|---|\n| `a.b` | `1` | What b is. |\n| `d` | `\"\"` | And d. |\n";
        assert_eq!(value_table(values), expected);
    }
}
