//! What the agent itself may do: as little as its work needs.
//!
//! Input: what a thread is for. Output: the same thread with fewer capabilities, a seccomp filter and, where it reads no
//! other process, a Landlock domain. Invariant: nothing here can be undone, by nobody; a kernel that lacks a part costs
//! that part and a notice.
//!
//! Capabilities, filters and domains belong to a thread, and threads inherit them from the one that starts them. So
//! [`privileges`] comes before the first thread; those that read other processes are started before the thread that
//! starts them calls [`network_thread`], as a Landlock domain keeps its threads from looking into other processes.

mod arguments;
mod capabilities;
mod domain;
mod filter;
mod syscalls;

pub use arguments::{Arguments, hide_arguments};
pub use capabilities::Verb;
pub(crate) use capabilities::sampling_takes_admin;
pub use domain::{Domain, Rules};
pub(crate) use domain::{PORTS_SINCE as LANDLOCK_PORTS_SINCE, landlock_abi};
pub(crate) use filter::is_available as has_seccomp;

use std::fmt;
use std::fs::File;
use std::path::Path;

/// What `/proc/kallsyms` is called.
const KALLSYMS: &str = "/proc/kallsyms";

/// What is left of the agent's privileges, and what was opened with those that went.
#[derive(Debug)]
pub struct Privileges {
    /// The kernel's symbols: who may see addresses is decided when they are opened.
    pub kallsyms: Option<File>,
    kept: capabilities::Kept,
    seccomp: bool,
    landlock: Option<i32>,
}

/// Gives up every capability that `verb` does not need from here on, and the ability to get any by executing something.
/// Called on the only thread there is.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn privileges(verb: Verb) -> std::io::Result<Privileges> {
    let kallsyms = File::open(KALLSYMS).ok();
    capabilities::lift_memory_limit();
    let kept = capabilities::keep(verb)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(Privileges { kallsyms, kept, seccomp: has_seccomp(), landlock: landlock_abi() })
}

impl Privileges {
    /// Says in the log what is in force. What the kernel lacks, `doctor` has said.
    pub fn report(&self) {
        tracing::info!(capabilities = %self.kept, seccomp = self.seccomp, landlock = %Abi(self.landlock), "confined");
    }
}

/// Version of Landlock.
struct Abi(Option<i32>);

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(abi) => write!(f, "{abi}"),
            None => f.write_str("none"),
        }
    }
}

/// Confines a thread that reads other processes or what the kernel says of them: it executes nothing, has no sockets,
/// writes no file, and of BPF it has maps only. Called first thing on that thread.
pub fn reader_thread() {
    if let Err(error) = capabilities::keep(Verb::Run) {
        tracing::error!(%error, "a thread keeps capabilities that it does not need");
    }
    install(filter::Work::Reading);
}

/// Confines the thread that starts those that read other processes, and starts them again: it executes nothing, writes
/// no file and has no sockets but those of this host.
pub fn supervisor_thread() {
    install(filter::Work::Supervising);
}

/// Confines a thread that talks to others over the network, and all that it starts from here on: it executes nothing,
/// looks into no process, loads nothing into the kernel, writes below the folders of `rules` alone and connects to
/// their ports alone.
pub fn network_thread(rules: &Rules) {
    enter(rules);
    install(if rules.folders.is_empty() { filter::Work::Talking } else { filter::Work::TalkingAndWriting });
}

/// Confines a thread that keeps files below one folder: the same, without the network.
pub fn files_thread(folder: &Path) {
    enter(&Rules { folders: vec![folder.to_owned()], ..Rules::default() });
    install(filter::Work::Writing);
}

fn enter(rules: &Rules) {
    match domain::enter(rules) {
        Ok(Domain::Unavailable | Domain::Entered) => {}
        Err(error) => tracing::error!(%error, "a thread is not confined to its folders and ports"),
    }
}

fn install(work: filter::Work) {
    if let Err(error) = filter::install(work)
        && has_seccomp()
    {
        tracing::error!(%error, "a thread can make every system call");
    }
}

#[cfg(test)]
mod tests;
