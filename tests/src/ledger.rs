//! What the tests of the ledger share: a scrape that must balance, and the agent's last word.

use crate::agent::{Agent, Metrics, binary, ledger_line};
use crate::stub::{Answer, Arrival, Protocol, Stub};
use crate::workload::{Running, compile_c};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time between two scrapes.
const SCRAPE: Duration = Duration::from_millis(50);

impl Agent {
    /// Scrapes for that long; every scrape must balance. Returns the last, and how many there were.
    #[must_use]
    pub fn balances_for(&self, time: Duration) -> (Metrics, usize) {
        let (started, mut scrapes) = (Instant::now(), 0);
        loop {
            let metrics = self.metrics();
            metrics.assert_balance();
            scrapes += 1;
            if started.elapsed() >= time {
                return (metrics, scrapes);
            }
            std::thread::sleep(SCRAPE);
        }
    }

    /// Scrapes until something has come true; every scrape must balance.
    pub fn balances_until(&self, what: &str, patience: Duration, come_true: impl Fn(&Metrics) -> bool) -> Metrics {
        let started = Instant::now();
        loop {
            let metrics = self.metrics();
            metrics.assert_balance();
            if come_true(&metrics) {
                return metrics;
            }
            assert!(started.elapsed() < patience, "not within {patience:?}: {what}: {:#?}", metrics.0);
            std::thread::sleep(SCRAPE);
        }
    }

    /// SIGTERM; the agent must end well, with a ledger that balances and has nothing left to do.
    pub fn ends_well(self) -> LastWord {
        let last = self.last_word();
        let sum = last.exported + last.spooled + last.pending + last.dropped;
        assert_eq!(last.taken, sum, "the last ledger is off:\n{}", last.stderr);
        assert!(!last.stderr.contains("does not balance"), "{}", last.stderr);
        assert_eq!((last.spooled, last.pending), (0, 0), "something is left:\n{}", last.stderr);
        last
    }

    /// SIGTERM, and what the agent says then; exit code 0.
    pub fn last_word(self) -> LastWord {
        let (status, stderr) = self.stop();
        assert_eq!(status.code(), Some(0), "{stderr}");
        let [taken, exported, spooled, pending, dropped] = ledger_line(&stderr);
        LastWord { taken, exported, spooled, pending, dropped, stderr }
    }
}

/// The ledger that the agent logs at its exit.
#[derive(Clone, Debug)]
pub struct LastWord {
    /// Samples taken.
    pub taken: u64,
    /// Samples exported.
    pub exported: u64,
    /// Samples spooled.
    pub spooled: u64,
    /// Samples pending.
    pub pending: u64,
    /// Samples dropped, for all reasons.
    pub dropped: u64,
    /// All that it wrote.
    pub stderr: String,
}

impl LastWord {
    /// How many samples were dropped for this reason.
    #[must_use]
    pub fn dropped_for(&self, reason: &str) -> u64 {
        let line = self.stderr.lines().rev().find(|line| line.contains("samples taken =")).unwrap_or_default();
        let words = line.split(['(', ')']).find_map(|words| words.strip_suffix(&format!(" {reason}")));
        words.map_or(0, |count| count.parse().expect("a count"))
    }

    /// How many lines of the log hold this text.
    #[must_use]
    pub fn lines_with(&self, text: &str) -> usize {
        self.stderr.lines().filter(|line| line.contains(text)).count()
    }
}

/// An agent that samples one burning process at 997 Hz and ships to a stub every second.
pub struct Shipping {
    /// The server.
    pub stub: Stub,
    /// The agent.
    pub agent: Agent,
    /// What is sampled.
    pub burner: Running,
    _folder: TempDir,
}

impl Shipping {
    /// Starts all three.
    #[must_use]
    pub fn start(protocol: Protocol, script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(Stub::start(protocol, script), Command::new(binary()).arg("run"), "1s")
    }

    /// The same with a server that may not be up, an agent of its own and another interval.
    pub fn start_with(stub: Stub, run: &mut Command, interval: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let burner = Running::start(&compile_c(folder.path(), "burn.c", &[]), &[]);
        let agent =
            Agent::start(run.args(["--endpoint", &stub.endpoint(), "--protocol", stub.protocol().flag()]).args([
                "--frequency",
                "997",
                "--interval",
                interval,
                "--pid",
                &burner.pid().to_string(),
            ]));
        Self { stub, agent, burner, _folder: folder }
    }

    /// Stops the burning process without ending it: from now on there is nothing to sample.
    pub fn freeze(&self) {
        let status = Command::new("kill").args(["-STOP", &self.burner.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "the workload cannot be stopped");
    }

    /// Ends the agent well; what it exported must be what the server has.
    #[must_use]
    pub fn ends_well(self) -> (LastWord, Stub) {
        let last = self.agent.ends_well();
        assert_eq!(self.stub.samples(), last.exported, "the server has other samples:\n{}", last.stderr);
        (last, self.stub)
    }
}
