//! cargo-fuzz and what it builds with: a C++ compiler for libFuzzer.

use super::debian;
use crate::places;
use crate::shell::{self, step};
use anyhow::Result;
use std::path::PathBuf;

/// Version of cargo-fuzz.
const VERSION: &str = "0.13.2";
/// Programs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[("c++", "g++")];

/// Installs it unless it is there; returns the program.
pub(crate) fn install() -> Result<PathBuf> {
    debian::install(PROGRAMS)?;
    let _lock = places::lock("cargo-fuzz")?;
    let folder = places::cache()?.join(format!("cargo-fuzz-{VERSION}"));
    places::fill(&folder, |partial| {
        step(&format!("building cargo-fuzz {VERSION} (less than a minute)"));
        // It only starts cargo: optimizing it would take longer than it saves.
        let mut cargo = shell::cargo(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--quiet", "--debug"]);
        cargo.args(["--no-track", "--root"]).arg(partial).arg("--target-dir").arg(partial.join("build"));
        shell::run(cargo.env("CARGO_BUILD_BUILD_DIR", partial.join("build")))?;
        Ok(std::fs::remove_dir_all(partial.join("build"))?)
    })?;
    Ok(folder.join("bin/cargo-fuzz"))
}
