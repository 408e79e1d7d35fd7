//! What deploy/ has from one place: versions in Chart.yaml and deploy/flux, Chart.lock, tables, the plain manifests.
//!
//! Input: deploy/versions.toml and the files themselves. Output: what they should say.

use super::versions::{Chart, Versions};
use super::{lock, plain, values};
use crate::places;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A file and what it should say.
pub(super) struct Generated {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// All of them.
pub(super) fn all(versions: &Versions) -> Result<Vec<Generated>> {
    let mut files = Vec::new();
    for folder in umbrellas()? {
        let path = folder.join("Chart.yaml");
        let text = with_versions(&read(&path)?, versions, Form::Chart)?;
        let asked = lock::dependencies(&text).with_context(|| format!("{}", path.display()))?;
        if !asked.is_empty() {
            files.push(Generated { path: folder.join("Chart.lock"), text: lock::file(&asked)? });
        }
        files.push(Generated { path, text });
    }
    for path in files_of(&places::workspace().join("deploy/flux/apps"), "yaml")? {
        let text = with_versions(&read(&path)?, versions, Form::Release)?;
        files.push(Generated { path, text });
    }
    files.extend(values::tables(versions)?);
    files.extend(plain::files()?);
    Ok(files)
}

/// Folders of our charts that are made of others.
pub(super) fn umbrellas() -> Result<Vec<PathBuf>> {
    let charts = places::workspace().join("deploy/charts");
    let entries = fs::read_dir(&charts)?.collect::<std::io::Result<Vec<_>>>()?;
    let mut folders: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    folders.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kalypso-")));
    folders.sort();
    Ok(folders)
}

/// Files of a folder with this extension, in order.
pub(super) fn files_of(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

#[derive(Clone, Copy)]
enum Form {
    /// `- name: NAME`, then `version: …` and `repository: …`.
    Chart,
    /// `chart: NAME`, then `version: "…"`.
    Release,
}

/// The text with the version behind each chart of the table.
fn with_versions(text: &str, versions: &Versions, form: Form) -> Result<String> {
    let mut current: Option<&Chart> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        let named = match form {
            Form::Chart => trimmed.strip_prefix("- name: "),
            Form::Release => trimmed.strip_prefix("chart: "),
        };
        if let Some(name) = named {
            current = versions.chart(name);
        }
        let key = trimmed.split(": ").next().unwrap_or_default();
        lines.push(match (current, key, form) {
            (Some(chart), "version", Form::Chart) => format!("{indent}version: {}", chart.shipped),
            (Some(chart), "repository", Form::Chart) => format!("{indent}repository: {}", chart.repository),
            (Some(chart), "version", Form::Release) => format!("{indent}version: \"{}\"", chart.shipped),
            _ => line.to_owned(),
        });
        if key == "version" && matches!(form, Form::Release) {
            current = None;
        }
    }
    Ok(lines.join("\n") + "\n")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
