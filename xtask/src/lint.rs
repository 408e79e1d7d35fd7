//! `lint`: format, clippy, licences and bans, generated files current.

mod dependencies;

use crate::{bpf, deploy, shell};
use anyhow::Result;

/// The verb: every check runs, whatever the others say.
pub(crate) fn lint() -> Result<()> {
    let failed: Vec<&str> =
        CHECKS.iter().filter(|(name, check)| !passes(name, *check)).map(|(name, _)| *name).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => anyhow::bail!("{} of {} checks failed: {}", failed.len(), CHECKS.len(), failed.join(", ")),
    }
}

type Check = fn() -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("format", format),
    ("clippy", clippy),
    ("dependencies", dependencies::check),
    ("BPF objects", bpf::check_sources),
    ("deploy", deploy::check),
];

fn passes(name: &str, check: Check) -> bool {
    shell::step(&format!("checking {name}"));
    check().inspect_err(|error| eprintln!("error: {name}: {error:#}")).is_ok()
}

fn format() -> Result<()> {
    component("rustfmt", "fmt")?;
    shell::run(&mut shell::cargo(["fmt", "--all", "--check"]))?;
    shell::run(&mut shell::cargo(["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"]))
}

/// The kernel program compiles for its own target only.
fn clippy() -> Result<()> {
    component("clippy", "clippy")?;
    let mut cargo = shell::cargo(["clippy", "--quiet", "--locked", "--workspace", "--exclude", "profiler-ebpf"]);
    shell::run(cargo.args(["--all-targets", "--", "-D", "warnings"]))
}

/// rustup's minimal profile lacks them.
fn component(name: &str, verb: &str) -> Result<()> {
    if shell::output(&mut shell::cargo([verb, "--version"])).is_ok() {
        return Ok(());
    }
    shell::step(&format!("installing the component {name}"));
    shell::run(&mut shell::command("rustup", ["component", "add", name]))
}
