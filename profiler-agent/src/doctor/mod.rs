//! What `run` needs of this host.
//!
//! Input: `/proc`, `/sys`, one attempt to open the sampling event. Output: a [`Report`], and for `run` and `record` the
//! reason why not. Invariant: nothing is changed, and facts are read below a root folder, so that tests have their own
//! host.

mod capabilities;
mod cgroup;
mod host;
mod kernel;
mod report;

pub use report::{Check, Report, Status};

use crate::bpf;
use crate::exit::{self, Failure};
use host::Host;
use std::path::PathBuf;

/// What only an attempt can tell.
pub(crate) struct Probe {
    /// Whether the sampling event can be opened.
    pub(crate) sampling: std::io::Result<()>,
    /// Whether the kernel has ring buffers; an error where it does not let us try.
    pub(crate) ring_buffer: std::io::Result<bool>,
    /// Size of the ring buffer at the frequency asked for.
    pub(crate) ring_bytes: u64,
}

impl Probe {
    fn this_host(frequency_hz: u32) -> Self {
        Self {
            sampling: bpf::try_sampling(),
            ring_buffer: bpf::try_ring_buffer(),
            ring_bytes: bpf::default_ring_bytes(frequency_hz),
        }
    }
}

/// Looks at everything.
#[must_use]
pub fn examine(frequency_hz: u32) -> Report {
    checks(&Host::new(PathBuf::from("/")), &Probe::this_host(frequency_hz), frequency_hz)
}

/// Whether sampling can start at all; what would show more is a warning.
///
/// # Errors
/// Exit code 77 with everything that is missing and how to grant it.
pub fn require() -> Result<(), Failure> {
    let report = examine(1);
    refusal(&report)?;
    for check in report.0.iter().filter(|check| check.status == Status::Warn) {
        tracing::warn!(fix = check.fixes.join(" or "), "{}: {}", check.name, check.found);
    }
    Ok(())
}

/// How this process can read others.
pub(crate) struct Reading {
    /// Capabilities that it lacks for that.
    pub(crate) missing: Vec<&'static str>,
    /// Ways to grant them.
    pub(crate) grants: Vec<String>,
    /// Whether it sees processes by the ids that the kernel has for them.
    pub(crate) pid_namespace: Check,
}

/// Looks at how this process can read others.
pub(crate) fn reading() -> Reading {
    let host = Host::new(PathBuf::from("/"));
    Reading {
        missing: capabilities::missing_for_reading(&host),
        grants: capabilities::grants(),
        pid_namespace: host::pid_namespace(&host),
    }
}

fn checks(host: &Host, probe: &Probe, frequency_hz: u32) -> Report {
    Report(vec![
        kernel::version(host),
        kernel::types(host),
        kernel::lockdown(host),
        capabilities::needed(host),
        capabilities::wanted(host),
        capabilities::locked_memory(host),
        kernel::sampling(host, probe),
        kernel::sample_rate(host, frequency_hz),
        kernel::rings(host, probe, frequency_hz),
        kernel::symbols(host),
        host::pid_namespace(host),
        host::processes(host),
        cgroup::layout(host),
    ])
}

fn refusal(report: &Report) -> Result<(), Failure> {
    if report.run_would_work() {
        return Ok(());
    }
    let mut message = "cannot sample this host".to_owned();
    for check in report.0.iter().filter(|check| check.status == Status::Fail) {
        message += &format!("\n  {}: {}", check.name, check.found);
        for fix in &check.fixes {
            message += &format!("\n    {fix}");
        }
    }
    message += "\n`profiler-agent doctor` says more";
    Err(Failure { code: exit::PRIVILEGE, message })
}

#[cfg(test)]
mod tests;
