//! The command that `record` starts: held before its first instruction until sampling has begun.
//!
//! The agent starts itself as a launcher, which stops itself; woken, it becomes the command.

use crate::exit::{self, Failure};
use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitOptions};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Hidden command of the agent by which it starts itself.
const LAUNCH: &str = "launch";
/// How often is looked whether the command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A started command.
pub(super) struct Command {
    child: Child,
    status: Option<ExitStatus>,
}

impl Command {
    /// Starts the launcher and waits until it has stopped; none without a command.
    pub(super) fn start(command: &[OsString]) -> Result<Option<Self>, Failure> {
        if command.is_empty() {
            return Ok(None);
        }
        let child = std::process::Command::new("/proc/self/exe").arg(LAUNCH).arg("--").args(command).spawn();
        let child = child.context("cannot start the launcher").map_err(Failure::from)?;
        let command = Self { child, status: None };
        rustix::process::waitpid(Some(command.raw_pid()), WaitOptions::UNTRACED)
            .context("cannot wait for the launcher")
            .map_err(Failure::from)?;
        Ok(Some(command))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Lets it run.
    pub(super) fn go_on(&self) {
        let _ = rustix::process::kill_process(self.raw_pid(), Signal::CONT);
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// Waits for its end and gives its exit code as a shell does. A signal that ended the recording early ends the
    /// command, too.
    pub(super) fn status(mut self, interrupted: &AtomicBool) -> u8 {
        let mut told = false;
        while !self.has_ended() {
            if interrupted.load(Ordering::Relaxed) && !told {
                told = true;
                let _ = rustix::process::kill_process(self.raw_pid(), Signal::TERM);
            }
            std::thread::sleep(LOOK);
        }
        let Some(status) = self.status else { return exit::FAILED };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED)
    }
}

/// Ends with the agent as long as it has not become the command.
fn wait_stopped() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::kill_process(rustix::process::getpid(), Signal::STOP)?;
    rustix::process::set_parent_process_death_signal(None)
}

/// The launcher: stops until the recording has begun, then becomes the command.
#[must_use]
pub fn launch(command: &[OsString]) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return Failure { code: exit::USAGE, message: "no command".into() };
    };
    if let Err(error) = wait_stopped() {
        return Failure { code: exit::FAILED, message: format!("cannot wait for the recording: {error}") };
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    let code = if error.kind() == ErrorKind::NotFound { exit::NOT_FOUND } else { exit::NOT_EXECUTABLE };
    Failure { code, message: format!("{}: {error}", program.to_string_lossy()) }
}
