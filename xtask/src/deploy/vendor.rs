//! Our charts with the charts they depend on inside, from Go modules.
//!
//! Helm leaves a dependency out without a word when a folder does not have the version that is asked for; so each copy says
//! the version that is asked for, whatever its sources call themselves.

use super::lock;
use super::versions::Versions;
use crate::places;
use crate::setup::go_tools;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A chart that Helm can render, and what is not in it.
pub(super) struct Vendored {
    pub(super) folder: PathBuf,
    /// Names of dependencies without sources, and why.
    pub(super) missing: Vec<(String, String)>,
}

/// A chart of deploy/charts, with its dependencies, below `work`.
pub(super) fn ours(versions: &Versions, name: &str, work: &Path) -> Result<Vendored> {
    let charts = places::workspace().join("deploy/charts");
    let folder = work.join(name);
    copy(&charts.join(name), &folder)?;
    let mut missing = Vec::new();
    for dependency in dependencies(&folder)? {
        let into = folder.join("charts").join(&dependency.name);
        if let Some(path) = dependency.repository.strip_prefix("file://") {
            copy(&charts.join(name).join(path), &into)?;
        } else if versions.source(&dependency.name).is_some() {
            upstream(versions, &dependency.name, &into)?;
            set_version(&into, &dependency.version)?;
        } else {
            let chart =
                versions.chart(&dependency.name).context("a dependency that deploy/versions.toml does not know")?;
            missing.push((dependency.name.clone(), chart.unrendered.clone().unwrap_or_default()));
            remove_dependency(&folder, &dependency.name)?;
        }
    }
    remove(&folder.join("Chart.lock"))?;
    Ok(Vendored { folder, missing })
}

/// A chart of others, with what it needs.
pub(super) fn upstream(versions: &Versions, name: &str, into: &Path) -> Result<()> {
    let source = versions.source(name).with_context(|| format!("no sources of the chart {name}"))?;
    copy(&go_tools::module(source.module)?.join(source.path), into)?;
    remove(&into.join("Chart.lock"))?;
    let needs = versions.chart(name).map(|chart| chart.needs.as_slice()).unwrap_or_default();
    for dependency in dependencies(into)?.into_iter().filter(|dependency| needs.contains(&dependency.name)) {
        let inside = into.join("charts").join(&dependency.name);
        upstream(versions, &dependency.name, &inside)?;
        set_version(&inside, exact(&dependency.version))?;
    }
    Ok(())
}

/// A version in a range such as `8.4.*`.
fn exact(range: &str) -> &str {
    range.trim_start_matches(['^', '~', '>', '=', ' ']).split(".*").next().unwrap_or(range)
}

fn dependencies(chart: &Path) -> Result<Vec<lock::Dependency>> {
    let path = chart.join("Chart.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    lock::dependencies(&text).with_context(|| format!("{}", path.display()))
}

/// The chart's own version, in a line that begins with it.
fn set_version(chart: &Path, version: &str) -> Result<()> {
    let parts = version.split('.').count();
    let version = format!("{version}{}", ".0".repeat(3_usize.saturating_sub(parts)));
    edit(&chart.join("Chart.yaml"), |text| {
        let lines = text.lines().map(|line| match line.starts_with("version:") {
            true => format!("version: {version}"),
            false => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    })
}

/// An entry of our own Chart.yaml, from its name to the next one.
fn remove_dependency(chart: &Path, name: &str) -> Result<()> {
    let begin = format!("  - name: {name}");
    edit(&chart.join("Chart.yaml"), |text| {
        let mut inside = false;
        let kept = text.lines().filter(|line| {
            inside = *line == begin || (inside && !line.starts_with("  - name: "));
            !inside
        });
        kept.collect::<Vec<_>>().join("\n") + "\n"
    })
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(path, change(text)).with_context(|| format!("cannot write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match path.exists() {
        true => Ok(fs::remove_file(path)?),
        false => Ok(()),
    }
}

/// A folder and all in it; copies can be written to, sources in Go's cache cannot.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::write(&target, fs::read(entry.path())?)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_version() {
        assert_eq!(exact("8.4.*"), "8.4");
        assert_eq!(exact("^1.2.3"), "1.2.3");
        assert_eq!(exact("0.40.0"), "0.40.0");
    }
}
