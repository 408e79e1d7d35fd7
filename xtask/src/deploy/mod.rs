//! `deploy`: writes what deploy/ has from one place, and proves the rest of it.
//!
//! Input: deploy/. Output: generated files; with `--check` a failure where one is not current; with `--verify` everything
//! rendered with the real charts of others, checked against the schemas of the oldest and the newest Kubernetes.
//!
//! Invariant: what could not be rendered or checked is printed by name and reason.

mod agent_chart;
mod argocd;
mod compose;
mod flux;
mod generate;
mod links;
mod lock;
mod manifest;
mod outcome;
mod plain;
mod render;
mod rules;
mod schemas;
mod stack;
mod values;
mod vendor;
mod versions;
mod waves;

use crate::{places, shell};
use anyhow::{Result, bail};
use outcome::Outcome;
use std::path::Path;
use versions::Versions;

/// Arguments of `deploy`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail where a generated file is not current
    #[arg(long)]
    check: bool,
    /// Render and check everything
    #[arg(long)]
    verify: bool,
}

/// The verb.
pub(crate) fn deploy(args: &Args) -> Result<()> {
    match (args.check, args.verify) {
        (false, false) => write(),
        (true, false) => check(),
        (false, true) => verify(),
        (true, true) => check().and_then(|()| verify()),
    }
}

fn write() -> Result<()> {
    for file in generate::all(&Versions::read()?)? {
        if std::fs::read_to_string(&file.path).ok().as_ref() != Some(&file.text) {
            shell::step(&format!("writing {}", shown(&file.path)));
            places::write(&file.path, file.text.as_bytes())?;
        }
    }
    Ok(())
}

/// Fails when a generated file is not current.
pub(crate) fn check() -> Result<()> {
    let mut stale = Vec::new();
    for file in generate::all(&Versions::read()?)? {
        if std::fs::read_to_string(&file.path).ok().as_ref() != Some(&file.text) {
            stale.push(shown(&file.path));
        }
    }
    match stale.is_empty() {
        true => Ok(()),
        false => bail!("not current, run `cargo xtask deploy`: {}", stale.join(", ")),
    }
}

/// Renders and checks everything; what is wrong is said of all of it.
pub(crate) fn verify() -> Result<()> {
    let versions = Versions::read()?;
    let tools = render::Tools::install()?;
    let mut outcome = Outcome::default();
    let stack = stack::verify(&versions, &tools, &mut outcome)?;
    argocd::verify(&stack, &tools, &mut outcome)?;
    waves::verify(&stack, &tools, &mut outcome)?;
    flux::verify(&versions, &tools, &mut outcome)?;
    agent_chart::verify(&tools, &mut outcome)?;
    rules::verify(&tools, &mut outcome)?;
    compose::verify(&mut outcome)?;
    outcome.finish()
}

/// The path as the workspace sees it.
fn shown(path: &Path) -> String {
    path.strip_prefix(places::workspace()).unwrap_or(path).display().to_string()
}
