//! What is shipped, as cargo and git know it: version, revision and time of the last change.

use crate::places;
use crate::shell::{self, command, output};
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::Command;

/// What labels and packages say of the program.
pub(crate) struct Source {
    pub(crate) version: String,
    pub(crate) description: String,
    /// SPDX expression.
    pub(crate) license: String,
    /// Where the project is at home, if its manifest says so.
    pub(crate) repository: Option<String>,
    /// Commit, with `-dirty` behind it where files differ from it; none outside a repository.
    pub(crate) revision: Option<String>,
    /// Time of the last change in seconds since 1970: `SOURCE_DATE_EPOCH`, else of the commit, else 0.
    pub(crate) epoch: u64,
}

impl Source {
    /// Of this tree.
    pub(crate) fn read() -> Result<Self> {
        let package = package()?;
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        let needed = |key: &str| text(key).with_context(|| format!("profiler-agent has no {key} in its manifest"));
        Ok(Self {
            version: needed("version")?,
            description: needed("description")?,
            license: needed("license")?,
            repository: text("repository"),
            revision: revision(),
            epoch: epoch()?,
        })
    }

    /// The time as RFC 3339 writes it.
    pub(crate) fn created(&self) -> Result<String> {
        let time = format!("--date=@{}", self.epoch);
        Ok(output(&mut command("date", ["--utc", &time, "+%Y-%m-%dT%H:%M:%SZ"]))?.trim().to_owned())
    }
}

fn package() -> Result<Value> {
    let text = output(&mut shell::cargo(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    packages.iter().find(|package| package["name"] == "profiler-agent").cloned().context("no package profiler-agent")
}

fn git(args: &[&str]) -> Command {
    let mut git = command("git", args);
    // Looking must not write the index.
    git.current_dir(places::workspace()).env("GIT_OPTIONAL_LOCKS", "0");
    git
}

fn revision() -> Option<String> {
    let commit = output(&mut git(&["rev-parse", "HEAD"])).ok()?.trim().to_owned();
    let changes = output(&mut git(&["status", "--porcelain", "--untracked-files=no"])).ok()?;
    Some(if changes.is_empty() { commit } else { commit + "-dirty" })
}

fn epoch() -> Result<u64> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {text:?}"));
    }
    match output(&mut git(&["log", "-1", "--format=%ct"])) {
        Ok(text) => text.trim().parse().with_context(|| format!("git tells no time: {text:?}")),
        Err(_) => Ok(0),
    }
}
