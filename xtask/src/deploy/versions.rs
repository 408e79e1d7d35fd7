//! deploy/versions.toml: which charts the stack is made of, in which versions, and where their sources are.

use crate::places;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Versions {
    /// Name to `PATH@VERSION` of a Go module.
    pub(super) modules: BTreeMap<String, String>,
    #[serde(rename = "chart")]
    pub(super) charts: Vec<Chart>,
    #[serde(rename = "part")]
    parts: Vec<Part>,
}

/// A chart that one of ours depends on, or a release of deploy/flux.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chart {
    pub(super) name: String,
    /// The chart of ours that it is in.
    #[serde(rename = "in")]
    pub(super) umbrella: Option<String>,
    pub(super) recorded: Option<String>,
    pub(super) shipped: String,
    pub(super) repository: String,
    module: Option<String>,
    path: Option<String>,
    /// The version of the sources, where it is not the shipped one.
    pub(super) renders: Option<String>,
    /// Names of the charts that it contains and its sources do not.
    #[serde(default)]
    pub(super) needs: Vec<String>,
    /// Why there are no sources.
    pub(super) unrendered: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    module: String,
    path: String,
}

/// Where the sources of a chart are: a module, `PATH@VERSION`, and the folder in it.
pub(super) struct Source<'a> {
    pub(super) module: &'a str,
    pub(super) path: &'a str,
}

impl Versions {
    /// Reads it.
    pub(super) fn read() -> Result<Self> {
        let path = path();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let versions: Self = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        for chart in &versions.charts {
            anyhow::ensure!(
                chart.unrendered.is_some() || versions.source(&chart.name).is_some(),
                "{}: {} has neither sources nor a reason",
                path.display(),
                chart.name
            );
        }
        Ok(versions)
    }

    /// A chart by its name.
    pub(super) fn chart(&self, name: &str) -> Option<&Chart> {
        self.charts.iter().find(|chart| chart.name == name)
    }

    /// Of a chart or of a part of one; none where there is no module.
    pub(super) fn source(&self, name: &str) -> Option<Source<'_>> {
        let chart = self.chart(name).and_then(|chart| Some((chart.module.as_deref()?, chart.path.as_deref()?)));
        let part = self.parts.iter().find(|part| part.name == name).map(|part| (&*part.module, &*part.path));
        let (module, path) = chart.or(part)?;
        Some(Source { module: self.modules.get(module)?, path })
    }
}

/// Where the table is.
pub(super) fn path() -> PathBuf {
    places::workspace().join("deploy/versions.toml")
}
