//! cargo-deb, and the programs with which it compresses.

use super::debian;
use crate::places;
use crate::shell::{self, step};
use anyhow::Result;
use std::path::PathBuf;

/// Version of cargo-deb.
const VERSION: &str = "3.8.0";
/// Programs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[("xz", "xz-utils")];

/// Installs it unless it is there; returns the program.
pub(crate) fn install() -> Result<PathBuf> {
    debian::install(PROGRAMS)?;
    let _lock = places::lock("cargo-deb")?;
    let folder = places::cache()?.join(format!("cargo-deb-{VERSION}"));
    places::fill(&folder, |partial| {
        step(&format!("building cargo-deb {VERSION} (about a minute)"));
        // It copies a few files: optimizing it would take longer than it saves.
        let mut cargo = shell::cargo(["install", "cargo-deb", "--version", VERSION, "--locked", "--quiet", "--debug"]);
        cargo.args(["--no-default-features", "--no-track", "--root"]).arg(partial);
        cargo.arg("--target-dir").arg(partial.join("build"));
        shell::run(cargo.env("CARGO_BUILD_BUILD_DIR", partial.join("build")))?;
        Ok(std::fs::remove_dir_all(partial.join("build"))?)
    })?;
    Ok(folder.join("bin/cargo-deb"))
}
