//! deploy/compose as `docker compose` reads it: what it mounts is there, what it waits for is a service of its own, ports
//! are open on loopback alone, and the agent has the six capabilities and settings that it knows.

use super::outcome::Outcome;
use crate::setup::go_tools;
use crate::shell::{command, output};
use crate::{build, places};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

const CAPABILITIES: [&str; 6] = ["BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "PERFMON", "SYSLOG", "SYS_PTRACE"];

/// Reads and checks it.
pub(super) fn verify(outcome: &mut Outcome) -> Result<()> {
    let mut compose = command(go_tools::install(go_tools::COMPOSE)?, ["--format", "json"]);
    let model = match output(compose.arg("compose.yaml").current_dir(places::workspace().join("deploy/compose"))) {
        Ok(text) => serde_json::from_str::<Value>(&text)?,
        Err(error) => {
            outcome.check("compose", Err(error));
            return Ok(());
        }
    };
    let services = model["services"].as_object().context("compose: no services")?;
    println!("compose: {} services", services.len());
    for (name, service) in services {
        for volume in entries(service, "volumes").filter(|volume| volume["type"] == "bind") {
            let source = volume["source"].as_str().unwrap_or_default();
            outcome
                .expect(Path::new(source).exists(), || format!("compose: {name} mounts {source}, which is not there"));
        }
        for other in service["depends_on"].as_object().into_iter().flat_map(serde_json::Map::keys) {
            outcome
                .expect(services.contains_key(other), || format!("compose: {name} waits for {other}, which is none"));
        }
        for port in entries(service, "ports") {
            outcome
                .expect(port["host_ip"] == "127.0.0.1", || format!("compose: {name} opens a port to others: {port}"));
        }
    }
    let agent = services.get("agent").context("compose: no agent")?;
    let mut added: Vec<&str> = entries(agent, "cap_add").filter_map(Value::as_str).collect();
    added.sort_unstable();
    outcome.expect(added == CAPABILITIES, || format!("compose: the agent gets {added:?}"));
    outcome
        .expect(agent["cap_drop"] == serde_json::json!(["ALL"]), || "compose: the agent drops too little".to_owned());
    outcome.check("compose: settings of the agent", settings(agent));
    Ok(())
}

fn entries<'a>(service: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    service[key].as_array().into_iter().flatten()
}

/// The agent shows each variable as where a setting of it comes from.
fn settings(agent: &Value) -> Result<()> {
    let variables = agent["environment"].as_object().context("no environment")?;
    let mut show = command(build::agent(true)?, ["config", "show"]);
    for (name, value) in variables {
        show.env(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    let shown = output(&mut show)?;
    let unknown: Vec<&String> = variables.keys().filter(|name| !shown.contains(name.as_str())).collect();
    anyhow::ensure!(unknown.is_empty(), "`config show` does not know {unknown:?}");
    Ok(())
}
