//! `build`: the agent.

use crate::{places, shell};
use anyhow::Result;
use std::path::PathBuf;

/// Arguments of `build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimized
    #[arg(long)]
    release: bool,
}

/// The verb.
pub(crate) fn build(args: &Args) -> Result<()> {
    let path = agent(args.release)?;
    println!("{}", path.display());
    Ok(())
}

/// Builds the agent and returns its path.
pub(crate) fn agent(release: bool) -> Result<PathBuf> {
    shell::step(if release { "building the agent, optimized" } else { "building the agent" });
    let mut cargo = shell::cargo(["build", "--locked", "--package", "profiler-agent"]);
    if release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    Ok(places::target().join(if release { "release" } else { "debug" }).join("profiler-agent"))
}

/// Builds a program of the tests, optimized, and returns its path.
pub(crate) fn of_tests(name: &str) -> Result<PathBuf> {
    shell::step(&format!("building {name}, optimized"));
    shell::run(&mut shell::cargo(["build", "--locked", "--release", "--package", "profiler-tests", "--bin", name]))?;
    Ok(places::target().join("release").join(name))
}

/// Builds the agent that can be told to lose one record, in a target folder of its own.
pub(crate) fn lossy_agent() -> Result<PathBuf> {
    shell::step("building the agent that loses one record");
    let target = places::target().join("lose-one");
    let mut cargo = shell::cargo(["build", "--locked", "--package", "profiler-agent", "--features", "lose-one"]);
    shell::run(cargo.arg("--target-dir").arg(&target))?;
    Ok(target.join("debug/profiler-agent"))
}
