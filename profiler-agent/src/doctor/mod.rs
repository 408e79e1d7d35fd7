//! What `run` needs of this host.
//!
//! Input: `/proc`, `/sys`, attempts at what the agent will do, and for the command the endpoints themselves. Output: a
//! [`Report`], and for `run` and `record` the reason why not. Invariant: nothing is changed, here or there, and facts are
//! read below a root folder, so that tests have their own host.

mod capabilities;
mod cgroup;
mod endpoints;
mod engines;
mod features;
mod host;
mod kernel;
mod kubernetes;
mod report;
mod trials;

pub use report::{Check, Report, Status};

use crate::config::{FREQUENCY_ALONE, Mistakes, RunConfig};
use crate::exit::{self, Failure};
use crate::{bpf, confine};
use host::Host;
use std::path::PathBuf;
use trials::Trials;

/// What only an attempt can tell.
pub(crate) struct Probe {
    /// Whether the sampling event can be opened.
    pub(crate) sampling: std::io::Result<()>,
    /// Whether the kernel asks for `CAP_SYS_ADMIN` for that.
    pub(crate) sampling_takes_admin: bool,
    /// Whether the kernel has ring buffers; an error where it does not let us try.
    pub(crate) ring_buffer: std::io::Result<bool>,
    /// Size of the ring buffer at the frequency asked for.
    pub(crate) ring_bytes: u64,
    /// What capabilities are for.
    pub(crate) trials: Trials,
    /// Whether the kernel has seccomp filters.
    pub(crate) seccomp: bool,
    /// Version of its Landlock.
    pub(crate) landlock: Option<i32>,
}

impl Probe {
    fn this_host(frequency_hz: u32) -> Self {
        Self {
            sampling: bpf::try_sampling(),
            sampling_takes_admin: confine::sampling_takes_admin(),
            ring_buffer: bpf::try_ring_buffer(),
            ring_bytes: bpf::default_ring_bytes(frequency_hz),
            trials: Trials::made(),
            seccomp: confine::has_seccomp(),
            landlock: confine::landlock_abi(),
        }
    }
}

/// Looks at this host and, where the configuration names any, at the endpoints.
#[must_use]
pub fn examine(configuration: &Result<RunConfig, Mistakes>) -> Report {
    let frequency_hz = configuration.as_ref().map_or(FREQUENCY_ALONE, |config| config.sample.frequency);
    let mut report = examine_host(frequency_hz);
    report.0.extend(match configuration {
        Ok(config) => {
            let mut checks = endpoints::reached(&config.export);
            checks.push(kubernetes::reached(&config.kubernetes));
            checks.extend(engines::reached(&config.container_sockets));
            checks
        }
        Err(mistakes) => endpoints::mistakes(mistakes),
    });
    report
}

fn examine_host(frequency_hz: u32) -> Report {
    checks(&Host::new(PathBuf::from("/")), &Probe::this_host(frequency_hz), frequency_hz)
}

/// Whether sampling can start at all; what would show more is a warning.
///
/// # Errors
/// Exit code 77 with everything that is missing and how to grant it.
pub fn require() -> Result<(), Failure> {
    let report = examine_host(1);
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
        trials::tried(host, &probe.trials),
        capabilities::locked_memory(host),
        kernel::sampling(host, probe),
        kernel::sample_rate(host, frequency_hz),
        kernel::rings(host, probe, frequency_hz),
        features::jit(host),
        kernel::symbols(host),
        features::known_bugs(host),
        features::tracefs(host),
        host::pid_namespace(host),
        host::processes(host),
        cgroup::layout(host),
        features::confinement(probe),
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
