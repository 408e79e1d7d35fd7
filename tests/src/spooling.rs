//! Agents with a spool, one after another on the same folder, and what a real server has from all of them.

use crate::agent::{Agent, Metrics, binary};
use crate::pyroscope::{CPU, Pyroscope, Range, value_of};
use crate::workload::{Running, compile_c};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Samples a second.
pub const HZ: u32 = 997;
/// Nanoseconds that a sample stands for.
pub const PERIOD_NS: i64 = 1_000_000_000 / HZ as i64;
/// For what takes seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Samples at their destination.
pub const EXPORTED: &str = "profiler_samples_exported_total";
/// Samples on disk.
pub const SPOOLED: &str = "profiler_samples_spooled";
/// Samples that the server may have besides.
pub const AMBIGUOUS: &str = "profiler_export_ambiguous_total";

/// The ledger's count of samples lost for a reason.
#[must_use]
pub fn dropped(reason: &str) -> String {
    format!("profiler_samples_dropped_total{{reason=\"{reason}\"}}")
}

/// A workload, a spool, and the way agents are started.
pub struct Spooling {
    /// What is sampled.
    pub burner: Running,
    /// The spool.
    pub spool: PathBuf,
    /// Further arguments of every agent.
    pub arguments: Vec<String>,
    folder: TempDir,
}

impl Spooling {
    /// A burning process and an empty folder.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let burner = Running::start(&compile_c(folder.path(), "burn.c", &[]), &[]);
        let arguments = ["--endpoint", endpoint].map(str::to_owned).to_vec();
        Self { burner, spool: folder.path().join("spool"), arguments, folder }
    }

    /// A folder besides the spool.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The command of an agent that sends windows of a second.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.args(["run", "--interval", "1s", "--frequency", &HZ.to_string()]);
        command.args(["--pid", &self.burner.pid().to_string(), "--spool-dir"]).arg(&self.spool);
        command.args(&self.arguments);
        command
    }

    /// An agent on the spool.
    #[must_use]
    pub fn start(&self) -> Agent {
        Agent::start(&mut self.command())
    }

    /// Stops the workload without ending it: from now on there is nothing to sample.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.burner.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "the workload cannot be sent {signal}");
    }
}

/// Waits until everything that the agent has taken came to an end.
pub fn settled(agent: &Agent) -> Metrics {
    agent.balances_until("nothing is pending or spooled", PATIENCE, |metrics| {
        metrics.get("profiler_samples_pending") + metrics.get(SPOOLED) == 0.0
    })
}

/// Samples in a server.
#[must_use]
pub fn stored(server: &Pyroscope) -> i64 {
    value_of(&server.stacks(CPU, "{}", Range::last_hour())) / PERIOD_NS
}

/// Waits until the server shows at least what was exported; it may have what is ambiguous besides, no more.
pub fn agrees(server: &Pyroscope, metrics: &Metrics) {
    let (exported, ambiguous) = (metrics.get(EXPORTED) as i64, metrics.get(AMBIGUOUS) as i64);
    let has = server.wait_for("server that has what was exported", PATIENCE, |server| {
        let has = stored(server);
        (has >= exported).then_some(has)
    });
    println!("{exported} samples exported, {ambiguous} ambiguous, the server has {has}");
    assert!(has <= exported + ambiguous, "the server has {has} samples, {exported} + {ambiguous} can be there");
}
