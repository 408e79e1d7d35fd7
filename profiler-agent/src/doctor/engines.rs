//! Whether containers of a plain host have names.

use super::report::Check;
use crate::engines::{Found, SOCKETS, probe};
use std::path::PathBuf;

const NAME: &str = "container engine";

/// Asks the engines. Sampling goes on without them: whatever is missing is a warning.
pub(super) fn reached(sockets: &[PathBuf]) -> Vec<Check> {
    match probe(sockets) {
        Ok(found) => checks(&found, SOCKETS.split(',').eq(sockets.iter().map(|socket| socket.to_string_lossy()))),
        Err(error) => vec![Check::warn(NAME, error.to_string(), "raise the limit of open files")],
    }
}

/// One for each engine, or one for none. A host need not have those of the defaults.
fn checks(found: &[Found], by_default: bool) -> Vec<Check> {
    let there = found.iter().filter(|found| !(by_default && found.is_absent()));
    let mut checks: Vec<Check> = there.map(check).collect();
    if checks.is_empty() {
        let why = if found.is_empty() { "off" } else { "neither Docker nor Podman is here" };
        checks.push(Check::pass(NAME, format!("{why}: no engine is asked for containers")));
    }
    checks
}

fn check(found: &Found) -> Check {
    match &found.told {
        Ok((server, _)) => Check::pass(NAME, format!("{server} at {}", found.socket.display())),
        Err(problem) => {
            Check::warn(NAME, format!("{}: containers have their ids", problem.say(&found.socket)), problem.fix())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;
    use crate::engines::Problem;

    fn found(told: Result<(), Problem>) -> Found {
        Found { socket: "/a.sock".into(), told: told.map(|()| ("Docker/28.0 (linux)".into(), None)) }
    }

    #[test]
    fn each_engine_is_a_line_with_what_mends_it() {
        let said = |found: &[Found], by_default| {
            let line = |check: Check| (check.status, check.found, check.fixes.len());
            checks(found, by_default).into_iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(said(&[], true), [(Status::Ok, "off: no engine is asked for containers".into(), 0)]);
        let nobody = "neither Docker nor Podman is here: no engine is asked for containers";
        assert_eq!(said(&[found(Err(Problem::Absent))], true), [(Status::Ok, nobody.into(), 0)]);
        let absent = "/a.sock is not there: containers have their ids";
        assert_eq!(said(&[found(Err(Problem::Absent))], false), [(Status::Warn, absent.into(), 1)]);
        let forbidden = "/a.sock is not for the agent's user: containers have their ids";
        assert_eq!(
            said(&[found(Ok(())), found(Err(Problem::Forbidden))], true),
            [(Status::Ok, "Docker/28.0 (linux) at /a.sock".into(), 0), (Status::Warn, forbidden.into(), 1)]
        );
    }
}
