//! The configuration, and whether its endpoints would take what is sent to them.

use super::report::{Check, Status};
use crate::config::Mistakes;
use crate::export::{Endpoint, ExportConfig, Obstacle, probe};

/// What is wrong with the configuration, a finding each.
pub(super) fn mistakes(mistakes: &Mistakes) -> Vec<Check> {
    let fix = "profiler-agent config check FILE says it of a file; profiler-agent run --help has every setting";
    mistakes.0.iter().map(|mistake| Check::fail("configuration", mistake.to_string(), fix)).collect()
}

/// Asks every endpoint.
pub(super) fn reached(config: &ExportConfig) -> Vec<Check> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Check::fail("endpoint", error.to_string(), "raise the limit of open files")],
    };
    let ask = |endpoint: &Endpoint| check(endpoint, runtime.block_on(probe(endpoint, config)));
    let mut checks: Vec<Check> = config.endpoints.iter().map(ask).collect();
    if checks.is_empty() {
        checks.push(Check::pass("endpoint", "none: profiles stay in memory and on the page"));
    }
    checks
}

fn check(endpoint: &Endpoint, asked: Result<String, Obstacle>) -> Check {
    let name = "endpoint";
    match asked {
        Ok(found) => Check::pass(name, format!("{endpoint}: {found}")),
        Err(Obstacle { found, fixes }) => {
            Check { name, status: Status::Fail, found: format!("{endpoint}: {found}"), fixes }
        }
    }
}
