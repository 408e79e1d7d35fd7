//! `verify`: loads every BPF program through the agent and compares the instructions verified with a budget.

use crate::{build, shell};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Instructions the verifier may walk, by program. The kernel's own limit is one million. Those that look for rules walk up
/// all cgroups that there may be around a task, which a task in three of them does not.
const BUDGET: &[(&str, u64)] = &[
    ("sample", 7_000),
    ("walk_user", 250_000),
    ("process_fork", 6_500),
    ("process_exec", 400),
    ("process_exit", 6_000),
];

/// Number of the programs.
pub(crate) fn programs() -> usize {
    BUDGET.len()
}

/// The verb, with the embedded object or with the one given.
pub(crate) fn verify(object: Option<&Path>) -> Result<()> {
    let agent = build::agent(false)?;
    let mut command = shell::command(agent, ["verify"]);
    if let Some(object) = object {
        command.env("PROFILER_BPF_OBJECT", object);
    }
    let printed = shell::output(&mut command)?;
    let mut over = Vec::new();
    let mut seen = 0;
    for line in printed.lines() {
        let (name, count) = line.split_once('\t').with_context(|| format!("unexpected line {line:?}"))?;
        let count: u64 = count.trim().parse().with_context(|| format!("unexpected line {line:?}"))?;
        let budget = BUDGET.iter().find(|(program, _)| *program == name).map(|(_, budget)| *budget);
        println!("{name:16} {count:>8} of {} instructions", budget.map_or("?".to_owned(), |budget| budget.to_string()));
        seen += 1;
        match budget {
            Some(budget) if count <= budget => {}
            Some(budget) => over.push(format!("{name}: {count} instructions, budget {budget}")),
            None => over.push(format!("{name}: no budget in xtask")),
        }
    }
    if seen < BUDGET.len() {
        over.push(format!("{seen} programs loaded, {} expected", BUDGET.len()));
    }
    if !over.is_empty() {
        bail!("{}", over.join("; "));
    }
    Ok(())
}
