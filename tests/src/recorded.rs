//! `profiler-agent record` as a user runs it, and what it wrote as collapsed stacks.

use crate::agent::{binary, ledger_line};
use std::process::{Command, Output};

/// A recording that ended well.
#[derive(Debug)]
pub struct Recorded {
    /// Process, root, …, leaf; and samples.
    pub stacks: Vec<(Vec<String>, u64)>,
    /// Samples taken, exported, spooled, pending, dropped.
    pub ledger: [u64; 5],
    /// What the recorded command wrote to standard output.
    pub stdout: String,
    /// Table and ledger.
    pub stderr: String,
}

impl Recorded {
    /// `record ARGUMENTS`, to a file of collapsed stacks.
    #[must_use]
    pub fn new(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the recording");
        let file = folder.path().join("recorded.folded");
        let output = Command::new(binary()).arg("record").arg("--output").arg(&file).args(arguments).output();
        let Output { status, stdout, stderr } = output.expect("the agent starts");
        let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(status.success(), "record {arguments:?}: {status}\n{stderr}");
        let folded = std::fs::read_to_string(&file).expect("the recording is written");
        let recorded =
            Self { stacks: folded.lines().map(stack).collect(), ledger: ledger_line(&stderr), stdout, stderr };
        assert_eq!(
            recorded.samples(|_| true),
            recorded.ledger[1],
            "the file holds what the ledger says:\n{}",
            recorded.stderr
        );
        recorded
    }

    /// Samples of some stacks, given as process, root, …, leaf.
    pub fn samples(&self, matches: impl Fn(&[String]) -> bool) -> u64 {
        self.stacks.iter().filter(|(stack, _)| matches(stack)).map(|(_, count)| count).sum()
    }

    /// Samples of a process, by its name.
    #[must_use]
    pub fn of_process(&self, name: &str) -> u64 {
        self.samples(|stack| stack[0] == name)
    }

    /// Samples with a function anywhere on the stack.
    #[must_use]
    pub fn with(&self, function: &str) -> u64 {
        self.samples(|stack| stack[1..].iter().any(|frame| frame == function))
    }
}

fn stack(line: &str) -> (Vec<String>, u64) {
    let (frames, count) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no count: {line}"));
    let count = count.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    (frames.split(';').map(str::to_owned).collect(), count)
}

/// Whether a frame has a real name, not `module+0x12` or `[unknown]`.
#[must_use]
pub fn is_named(frame: &str) -> bool {
    !frame.is_empty() && !frame.contains("+0x") && !frame.starts_with('[')
}
