//! `run`: build, then `profiler-agent run`.

use crate::{build, shell};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

/// Arguments of `run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `profiler-agent run`
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// The verb: replaces this process by the agent.
pub(crate) fn run(args: &Args) -> Result<()> {
    let agent = build::agent(true)?;
    let mut command = if shell::is_root() {
        shell::command(&agent, ["run"])
    } else if shell::has("sudo") {
        shell::step("sampling every CPU needs root: asking sudo");
        let mut sudo = shell::command("sudo", [agent.as_os_str()]);
        sudo.arg("run");
        sudo
    } else {
        let text = format!("sampling every CPU needs root and there is no sudo: run `{} run` as root", agent.display());
        return Err(shell::Exit(77, text).into());
    };
    command.args(&args.args);
    Err(command.exec()).with_context(|| format!("cannot start {}", agent.display()))
}
