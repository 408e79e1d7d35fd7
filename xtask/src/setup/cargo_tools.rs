//! Commands of cargo that we install: cargo-deb, cargo-deny, cargo-fuzz; and what they start.

use super::debian;
use crate::places;
use crate::shell::{self, step};
use anyhow::Result;
use std::path::PathBuf;

/// A command of cargo.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// How long it takes to build.
    takes: &'static str,
    /// Leaves its default features out, or nothing.
    features: &'static [&'static str],
    /// Programs, and the Debian packages that have them.
    programs: &'static [(&'static str, &'static str)],
}

/// Makes Debian packages, compressed by xz.
pub(crate) const DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    takes: "about a minute",
    features: &["--no-default-features"],
    programs: &[("xz", "xz-utils")],
};

/// Checks dependencies; git fetches advisories.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    takes: "about two minutes",
    features: &["--no-default-features"],
    programs: &[("git", "git")],
};

/// Fuzzes; libFuzzer is C++.
pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    takes: "less than a minute",
    features: &[],
    programs: &[("c++", "g++")],
};

/// Installs it unless it is there; returns the program.
pub(crate) fn install(tool: Tool) -> Result<PathBuf> {
    let Tool { name, version, takes, features, programs } = tool;
    debian::install(programs)?;
    let _lock = places::lock(name)?;
    let folder = places::cache()?.join(format!("{name}-{version}"));
    places::fill(&folder, |partial| {
        step(&format!("building {name} {version} ({takes})"));
        // They read and copy a few files: optimizing them would take longer than it saves.
        let mut cargo = shell::cargo(["install", name, "--version", version, "--locked", "--quiet", "--debug"]);
        cargo.args(features).args(["--no-track", "--root"]).arg(partial);
        cargo.arg("--target-dir").arg(partial.join("build"));
        shell::run(cargo.env("CARGO_BUILD_BUILD_DIR", partial.join("build")))?;
        Ok(std::fs::remove_dir_all(partial.join("build"))?)
    })?;
    Ok(folder.join("bin").join(name))
}
