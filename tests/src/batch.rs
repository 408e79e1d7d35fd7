//! Several workloads of known chains in one recording, two at a time, each judged by its own clock.

use crate::chain::{self, Chain, Verdict};
use crate::stacks::{Recording, Sample};
use crate::workload::json_lines;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// Samples in a second of CPU.
const HZ: f64 = 997.0;
/// Samples from which shares are exact, to two points of a function's (four standard deviations), to 0.1 % of whole
/// stacks.
const EXACT_SAMPLES: u64 = 10_000;
/// Share of stacks that need not be whole: one in so many. A job with fewer samples may have as many as a longer one: the
/// copies of a process's first stacks are where most of them are.
const BROKEN: u64 = 1000;

/// A command whose process burns below known chains.
#[derive(Clone, Debug)]
pub struct Job {
    /// In the table that is printed.
    pub name: String,
    /// For a shell that is replaced by it.
    pub command: String,
    /// What its stacks must be.
    pub chains: Vec<Chain>,
    /// Names for addresses of a program that has none itself.
    pub names: Option<Names>,
}

/// Functions of a file by address, and the module's name in stacks.
pub type Names = (String, BTreeMap<u64, String>);

impl Job {
    /// A program with its arguments and its chain.
    #[must_use]
    pub fn new(name: &str, program: &Path, arguments: &[&str], chains: Vec<Chain>) -> Self {
        let command = format!("{} {}", program.display(), arguments.join(" "));
        Self { name: name.to_owned(), command, chains, names: None }
    }

    /// Runs another process of the program first, whose samples do not count: for stacks that reach farther than what
    /// is copied of a stack while its file has no table. How many samples that costs is what first_samples.rs is about.
    #[must_use]
    pub fn known(mut self, program: &Path, arguments: &[&str]) -> Self {
        self.command =
            format!("sh -c '{0} {1} > {0}.first; exec {2}'", program.display(), arguments.join(" "), self.command);
        self
    }
}

/// Jobs whose recording is over.
pub struct Batch {
    jobs: Vec<Job>,
    folder: TempDir,
    /// All samples.
    pub recording: Recording,
}

impl Batch {
    /// Records all jobs from their first instruction to their last.
    #[must_use]
    pub fn record(jobs: Vec<Job>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the jobs' output");
        let at = folder.path().display();
        let line = |(index, job): (usize, &Job)| {
            format!("echo $$ > {at}/{index}.pid; exec > {at}/{index}.json; exec {}", job.command)
        };
        let lines: Vec<String> = jobs.iter().enumerate().map(line).collect();
        let script = "printf '%s\\0' \"$@\" | xargs -0 -n 1 -P 2 sh -c";
        let mut arguments = vec!["--", "sh", "-c", script, "sh"];
        arguments.extend(lines.iter().map(String::as_str));
        let recording = Recording::new(&arguments);
        Self { jobs, folder, recording }
    }

    /// Prints a row for each job, with every stack that is not as it should be, and fails when a job's stacks are not.
    pub fn assert_whole(&self) {
        println!("{:34} {:>8} {:>9} {:>7} {:>9}", "workload", "samples", "whole, %", "points", "elsewhere");
        let mut faults = Vec::new();
        let (mut whole, mut samples) = (0, 0);
        for (index, job) in self.jobs.iter().enumerate() {
            let verdict = self.judge(index, job, &mut faults);
            whole += verdict.whole;
            samples += verdict.samples();
        }
        println!("{samples} samples of all, {whole} are whole");
        if too_many_broken(whole, samples) {
            faults.push(format!("all: {whole} of {samples} stacks are whole"));
        }
        assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), self.recording.stderr);
    }

    /// What the programs of a job said about themselves.
    #[must_use]
    pub fn output(&self, index: usize) -> Vec<Value> {
        json_lines(&self.text(&format!("{index}.json")))
    }

    /// The process of a job.
    #[must_use]
    pub fn pid(&self, index: usize) -> u32 {
        self.text(&format!("{index}.pid")).trim().parse().expect("the job's pid")
    }

    fn text(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join(name));
        text.unwrap_or_else(|error| panic!("{name}: {error}\n{}", self.recording.stderr))
    }

    /// Prints what was seen of a job, and adds what is wrong with it.
    fn judge(&self, index: usize, job: &Job, faults: &mut Vec<String>) -> Verdict {
        let pid = self.pid(index);
        let samples: Vec<Sample> = self.recording.of(pid).map(|sample| named(sample, job.names.as_ref())).collect();
        let output = self.output(index);
        let truth = output.last().unwrap_or_else(|| panic!("{} printed nothing\n{}", job.name, self.recording.stderr));
        let verdict = chain::judge(&job.chains, samples.iter());
        let wrong = assess(job, &verdict, truth);
        if !wrong.is_empty() {
            faults.push(format!("{}: {}", job.name, wrong.join("; ")));
        }
        verdict
    }
}

/// Whether more stacks are not whole than may be.
fn too_many_broken(whole: u64, samples: u64) -> bool {
    (samples - whole) * BROKEN > samples.max(EXACT_SAMPLES)
}

/// Prints a row; what is wrong with it, if anything is.
fn assess(job: &Job, verdict: &Verdict, truth: &Value) -> Vec<String> {
    let burners = job.chains.iter().flat_map(|chain| &chain.burners);
    // Without a clock of each burner there are no shares to compare: what they do is too short to be timed.
    let clocks: Option<BTreeMap<String, f64>> =
        burners.map(|burner| Some((burner.clone(), truth[burner].as_f64()?))).collect();
    let seconds = clocks.as_ref().map_or(truth["cpu_seconds"].as_f64(), |clocks| Some(clocks.values().sum()));
    let expected = HZ * seconds.unwrap_or_else(|| panic!("{} has no clock: {truth}", job.name));
    let (samples, distance) = (verdict.samples(), clocks.as_ref().map_or(0.0, |clocks| verdict.distance(clocks)));
    let Verdict { whole, others, elsewhere, .. } = verdict;
    println!("{:34} {samples:>8} {:>9.3} {distance:>7.2} {elsewhere:>9}", job.name, verdict.percent());
    for (stack, count) in others {
        println!("  {count} times {stack}");
    }
    let mut faults = Vec::new();
    if samples == 0 || too_many_broken(*whole, samples) {
        faults.push(format!("{whole} of {samples} stacks are whole"));
    }
    // A clock includes what a hypervisor took away, samples do not.
    if (samples as f64) < 0.9 * expected {
        faults.push(format!("{samples} samples of {expected:.0} have a burner as leaf"));
    }
    let allowed = if samples >= EXACT_SAMPLES { 2.0 } else { 200.0 / (samples.max(1) as f64).sqrt() };
    if distance > allowed {
        faults.push(format!("shares are {distance:.2} points off: {:?}, clock {truth}", verdict.burners));
    }
    faults
}

/// The sample with names for the addresses of a file that has none.
fn named(sample: &Sample, names: Option<&Names>) -> Sample {
    let mut sample = sample.clone();
    if let Some((module, functions)) = names {
        let mut frames = sample.frames.to_vec();
        for frame in frames.iter_mut().filter(|frame| frame.module == *module) {
            let has_none = frame.name == format!("{module}+{:#x}", frame.address);
            let function = functions.range(..=frame.address).next_back();
            if let Some((_, name)) = function.filter(|_| has_none) {
                frame.name.clone_from(name);
            }
        }
        sample.frames = frames.into();
    }
    sample
}

/// Functions of a file by address, as `nm` reads its symbol table.
#[must_use]
pub fn symbols(file: &Path) -> BTreeMap<u64, String> {
    let output = std::process::Command::new("nm").arg("--defined-only").arg(file).output().expect("nm starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let function = |line: &str| {
        let mut fields = line.split(' ');
        let address = u64::from_str_radix(fields.next()?, 16).ok()?;
        let kind = fields.next()?;
        matches!(kind, "T" | "t" | "W").then(|| (address, fields.collect::<Vec<_>>().join(" ")))
    };
    // Of several names of one address the last that is put in stays: the one with fewest underscores, then the shortest.
    let mut functions: Vec<(u64, String)> = text.lines().filter_map(function).collect();
    let underscores = |name: &str| name.len() - name.trim_start_matches('_').len();
    functions.sort_by_key(|(_, name)| Reverse((underscores(name), name.len())));
    functions.into_iter().collect()
}
