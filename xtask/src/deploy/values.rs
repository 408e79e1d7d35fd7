//! The tables in deploy/README.md: which versions, and which values the charts of the stack have of their own.

use super::generate::Generated;
use super::versions::Versions;
use crate::places;
use anyhow::{Context, Result};

/// Files with such tables.
pub(super) fn tables(versions: &Versions) -> Result<Vec<Generated>> {
    let path = places::workspace().join("deploy/README.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = between(&text, "versions", &version_table(versions))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_a_table_between_its_marks() {
        let text = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n";
        assert_eq!(between(text, "t", "new\n").unwrap(), "a\n<!-- t -->\nnew\n<!-- /t -->\nb\n");
        assert!(between("none", "t", "").is_err());
    }
}
