//! What libFuzzer's log says.

use std::path::Path;
use std::process::ExitStatus;

/// Last lines shown of the log of a target that broke.
const SHOWN_LINES: usize = 40;

/// What a run of one target came to.
#[derive(Debug)]
pub(super) struct Outcome {
    target: String,
    broke: bool,
    /// `cov: 1234 ft: 5678 corp: 90/12Kb …` of the last line that has it.
    coverage: String,
    executions: u64,
    executions_per_s: u64,
    /// The input that broke it.
    input: Option<String>,
    /// The end of the log.
    tail: String,
}

impl Outcome {
    /// Reads the log.
    pub(super) fn new(target: &str, status: ExitStatus, log: &str) -> Self {
        let last = |key: &str| log.lines().rev().find_map(|line| line.split_once(key)).map(|(_, rest)| rest.trim());
        let count = |key: &str| last(key).and_then(|text| text.parse().ok()).unwrap_or(0);
        let coverage = last("cov: ").map(|text| text.split(" lim:").next().unwrap_or(text));
        let lines: Vec<&str> = log.lines().collect();
        Self {
            target: target.to_owned(),
            broke: !status.success(),
            coverage: coverage.map_or_else(|| "none".to_owned(), |text| text.replace(" exec/s", "")),
            executions: count("stat::number_of_executed_units:"),
            executions_per_s: count("stat::average_exec_per_sec:"),
            input: last("Test unit written to ").map(str::to_owned),
            tail: lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"),
        }
    }

    /// Whether it ended before its time.
    pub(super) fn broke(&self) -> bool {
        self.broke
    }

    /// Which target.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// One line, or what broke and what to do about it.
    pub(super) fn print(&self, log: &Path, regressions: &Path) {
        let Self { target, executions, executions_per_s, coverage, .. } = self;
        if !self.broke {
            println!("{target:14} {executions:>9} inputs, {executions_per_s:>6}/s, coverage {coverage}");
            return;
        }
        println!("{}\n{target}: broken; the whole log is {}", self.tail, log.display());
        if let Some(input) = &self.input {
            println!("the input is {input}\nonce mended, keep it as a test:");
            println!("    mkdir -p {0} && cp {input} {0}/NAME_OF_WHAT_BROKE", regressions.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn reads_a_log_of_a_target_that_held() {
        let log = "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                   #99\tREDUCE cov: 12 ft: 34 corp: 5/67b lim: 4 exec/s: 9 rss: 31Mb L: 1/2 MS: 1 X-\n\
                   stat::number_of_executed_units: 4711\nstat::average_exec_per_sec:     815\n";
        let outcome = Outcome::new("maps", ExitStatus::from_raw(0), log);
        assert_eq!((outcome.executions, outcome.executions_per_s), (4711, 815));
        assert_eq!(outcome.coverage, "12 ft: 34 corp: 5/67b");
        assert!(!outcome.broke());
    }

    #[test]
    fn finds_the_input_that_broke_a_target() {
        let log = "thread panicked at src/a.rs:1:1:\nTest unit written to /cache/crash-0123\n";
        let outcome = Outcome::new("maps", ExitStatus::from_raw(77 << 8), log);
        assert_eq!(outcome.input.as_deref(), Some("/cache/crash-0123"));
        assert!(outcome.broke());
    }
}
