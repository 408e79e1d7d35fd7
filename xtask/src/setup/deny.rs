//! cargo-deny, and git, with which it fetches advisories.

use super::debian;
use crate::places;
use crate::shell::{self, step};
use anyhow::Result;
use std::path::PathBuf;

/// Version of cargo-deny.
const VERSION: &str = "0.20.2";
/// Programs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[("git", "git")];

/// Installs it unless it is there; returns the program.
pub(crate) fn install() -> Result<PathBuf> {
    debian::install(PROGRAMS)?;
    let _lock = places::lock("cargo-deny")?;
    let folder = places::cache()?.join(format!("cargo-deny-{VERSION}"));
    places::fill(&folder, |partial| {
        step(&format!("building cargo-deny {VERSION} (about two minutes)"));
        // It reads two lock files: optimizing it would take longer than it saves.
        let mut cargo = shell::cargo(["install", "cargo-deny", "--version", VERSION, "--locked", "--quiet", "--debug"]);
        cargo.args(["--no-default-features", "--no-track", "--root"]).arg(partial);
        cargo.arg("--target-dir").arg(partial.join("build"));
        shell::run(cargo.env("CARGO_BUILD_BUILD_DIR", partial.join("build")))?;
        Ok(std::fs::remove_dir_all(partial.join("build"))?)
    })?;
    Ok(folder.join("bin/cargo-deny"))
}
