//! What the agent knows of one process: its names, where unwind rows and symbols of its files come from, and what its
//! stacks would lack.
//!
//! Input: a process id, and whom to ask for containers. Output: a [`Report`]. Invariants: the process is looked at with the agent's own code, so that
//! what is told is what `run` would do; nothing is attached to it, no kernel program is loaded; paths and names are
//! other people's text and printed as such.

mod code;
mod engine;
mod names;
mod reasons;
mod report;
mod runtime;
mod table;

pub use report::{Finding, Report};

use crate::doctor::{self, Reading};
use crate::exit::{self, Failure};
use crate::process::{Executables, Living, NameSource, Naming, NotRead, ProcessTable};
use std::path::PathBuf;
use std::sync::Arc;

/// Looks at a process.
///
/// # Errors
/// Exit code 1 when there is no such process, 77 when it may not be read.
pub fn explain(pid: u32, sources: Vec<NameSource>, sockets: &[PathBuf]) -> Result<Report, Failure> {
    let reading = doctor::reading();
    let living = Living::look(pid).map_err(|why| failure(pid, why, &reading))?;
    if living.is_kernel_thread {
        return Ok(report::of_kernel_thread(&living));
    }
    let naming = Naming::new(sources);
    let answers = naming.answers(living.key()).unwrap_or_default();
    let mut processes = ProcessTable::new(Executables::new(Arc::default()), naming.clone());
    let identity = processes.identity(living.key(), None, 0, 0);
    let told = engine::ask(identity.container.as_deref(), sockets);
    let code = code::read(&mut processes, living.key(), &living.exe);
    let runtimes = runtime::find(&living, &code);
    if !naming.lives(living.key()) {
        return Err(failure(pid, NotRead::Ended, &reading));
    }
    Ok(Report {
        process: names::lines(&living, &identity, answers, &told),
        runtime: runtime::lines(&runtimes, &code),
        stacks: reasons::stacks(&code, &runtimes, &reading),
        names: reasons::names(&code, &runtimes),
        code,
    })
}

fn failure(pid: u32, why: NotRead, reading: &Reading) -> Failure {
    let failed = |message| Failure { code: exit::FAILED, message };
    match why {
        NotRead::Gone => failed(format!("no process {pid}")),
        NotRead::Ended => failed(format!("process {pid} has ended")),
        NotRead::Thread(process) => failed(format!(
            "{pid} is a thread of process {process}: profiler-agent explain {process} says what holds for all of its threads"
        )),
        NotRead::Forbidden if reading.missing.contains(&"CAP_SYS_PTRACE") => {
            let grants: String = reading.grants.iter().map(|grant| format!("\n    {grant}")).collect();
            Failure {
                code: exit::PRIVILEGE,
                message: format!("cannot read process {pid}: missing {}{grants}", reading.missing.join(", ")),
            }
        }
        NotRead::Forbidden => Failure {
            code: exit::PRIVILEGE,
            message: format!(
                "cannot read process {pid}, although CAP_SYS_PTRACE is there: start this outside of user namespaces, and \
                 let the security module (SELinux, AppArmor) allow ptrace"
            ),
        },
    }
}

/// Columns of standard output; none where it is no terminal, and lines may be as long as they are.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col).max(40))
}

#[cfg(test)]
mod tests;
