//! `test`: sets up, builds and runs everything, with real parts.
//!
//! Ends with `N passed, N failed` over all parts, alone on its line.

use crate::{bpf, build, deploy, fuzz, image, lint, package, places, setup, shell, verify, vm};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this: a part (lint, bpf, verify, vm, fuzz, deploy, unit), a file of tests/tests, or tests with this in their name
    filter: Option<String>,
    /// Every version, soaks, outages, the full matrix
    #[arg(long)]
    long: bool,
}

/// What one part came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// What the tests find in their environment.
struct Environment {
    path: OsString,
    agent: PathBuf,
    losing_agent: PathBuf,
    /// Variables that say where what is shipped lies, if a test is chosen that looks at it.
    shipped: Vec<(&'static str, PathBuf)>,
    long: bool,
}

/// The verb.
pub(crate) fn test(args: &Args) -> Result<()> {
    if !shell::is_root() {
        let text = "the tests load kernel programs: run `cargo xtask test` as root";
        return Err(shell::Exit(77, text.to_owned()).into());
    }
    let mut report = Report::default();
    match args.filter.as_deref() {
        None => {
            let environment = environment(args.long, None, &mut report)?;
            for part in PARTS {
                report.check(part.0, || part.1(args.long));
            }
            report.part("unit", || unit(None));
            report.part("integration", || integration(&environment, None));
        }
        Some(filter) => match PARTS.iter().find(|part| part.0 == filter) {
            Some(part) => report.check(part.0, || part.1(args.long)),
            None => filtered(filter, args.long, &mut report)?,
        },
    }
    report.finish(args.filter.as_deref())
}

/// Gets whether the long form is asked for.
type Check = fn(bool) -> Result<()>;

/// Parts that are one test each.
const PARTS: &[(&str, Check)] = &[
    ("lint", |_| lint::lint()),
    ("bpf", |_| bpf::check()),
    ("verify", |_| verify::verify(None)),
    ("vm", vm::test),
    ("fuzz", fuzz::test),
    ("deploy", |_| deploy::verify()),
];

fn filtered(filter: &str, long: bool, report: &mut Report) -> Result<()> {
    if filter == "unit" {
        report.part("unit", || unit(None));
        return Ok(());
    }
    let is_file = places::workspace().join(format!("tests/tests/{filter}.rs")).exists();
    if !is_file {
        report.part("unit", || unit(Some(filter)));
    }
    let environment = environment(long, Some(filter), report)?;
    report.part("integration", || integration(&environment, Some(filter)));
    Ok(())
}

/// Installs and builds what the integration tests need.
fn environment(long: bool, filter: Option<&str>, report: &mut Report) -> Result<Environment> {
    let path = report.time("setup", || setup::go::path_with(&setup::test(long)?))?;
    let (agent, losing_agent) = report.time("build", || Ok((build::agent(true)?, build::lossy_agent()?)))?;
    report.time("pyroscope", || {
        let mut cargo = shell::cargo(["run", "--quiet", "--locked", "--package", "profiler-tests"]);
        shell::run(cargo.args(["--bin", "build-pyroscope"]).env("PATH", &path).env("PROFILER_CACHE", places::cache()?))
    })?;
    let mut shipped = if looks_at(OF_SHIPPED, filter)? { report.time("ship", ship)? } else { Vec::new() };
    // Their short form is not part of a run without a filter yet.
    if (long || filter.is_some()) && looks_at(OF_CLUSTER, filter)? {
        shipped.push(("PROFILER_CLUSTER", report.time("cluster", setup::cluster::install)?));
    }
    Ok(Environment { path, agent, losing_agent, shipped, long })
}

/// Files of tests/tests that need the image or the packages.
const OF_SHIPPED: &[&str] = &["cluster", "image", "package", "reproducible", "sbom"];
/// Those that need a Kubernetes node.
const OF_CLUSTER: &[&str] = &["cluster"];

/// Whether a filter chooses a test of these files.
fn looks_at(files: &[&str], filter: Option<&str>) -> Result<bool> {
    let Some(filter) = filter else { return Ok(true) };
    for name in files {
        let text = std::fs::read_to_string(places::workspace().join(format!("tests/tests/{name}.rs")))?;
        if *name == filter || text.contains(filter) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the image and the packages.
fn ship() -> Result<Vec<(&'static str, PathBuf)>> {
    Ok(vec![("PROFILER_IMAGE", image::of_tests()?), ("PROFILER_PACKAGE", package::of_tests()?)])
}

fn unit(filter: Option<&str>) -> Result<Tally> {
    let mut cargo = shell::cargo(["test", "--locked", "--no-fail-fast", "--workspace"]);
    cargo.args(["--exclude", "profiler-ebpf", "--exclude", "profiler-tests"]);
    counted(cargo.args(filter.map(|filter| ["--", filter]).iter().flatten()))
}

/// One at a time: they measure CPU time. A filter is a file of tests/tests or part of a test's name.
fn integration(environment: &Environment, filter: Option<&str>) -> Result<Tally> {
    let mut cargo = shell::cargo(["test", "--locked", "--no-fail-fast", "--package", "profiler-tests"]);
    let file = filter.filter(|name| places::workspace().join(format!("tests/tests/{name}.rs")).exists());
    cargo.args(file.map(|name| ["--test", name]).iter().flatten());
    cargo.args(["--", "--test-threads=1"]).args(filter.filter(|_| file.is_none()));
    cargo.env("PATH", &environment.path).env("PROFILER_AGENT", &environment.agent);
    cargo.env("PROFILER_AGENT_LOSE", &environment.losing_agent).env("PROFILER_CACHE", places::cache()?);
    cargo.envs(environment.shipped.iter().map(|(name, path)| (name, path)));
    if environment.long {
        cargo.arg("--include-ignored");
    }
    counted(&mut cargo)
}

/// Runs `cargo test`, shows what it prints and adds up its results.
fn counted(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("no output of cargo test")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        if let Some(found) = Tally::parse(&line) {
            tally.passed += found.passed;
            tally.failed += found.failed;
        }
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        eprintln!("error: cargo test ended with {status} and named no failed test");
        tally.failed = 1;
    }
    Ok(tally)
}

impl Tally {
    /// Reads `test result: ok. 5 passed; 0 failed; …`.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let part = counts.split("; ").find_map(|part| part.strip_suffix(what))?;
            part.trim().parse::<u64>().ok()
        };
        Some(Self { passed: count("passed")?, failed: count("failed")? })
    }
}

/// Results and durations of the parts.
#[derive(Default)]
struct Report {
    total: Tally,
    lines: Vec<String>,
}

impl Report {
    /// Something that must work for the tests to run at all.
    fn time<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = work().with_context(|| format!("{name} failed"));
        self.lines.push(format!("{name:12} {:>6.1} s", started.elapsed().as_secs_f64()));
        result
    }

    /// A part that is one test.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        self.part(name, || check().map(|()| Tally { passed: 1, failed: 0 }));
    }

    fn part(&mut self, name: &str, work: impl FnOnce() -> Result<Tally>) {
        shell::step(&format!("testing: {name}"));
        let started = Instant::now();
        let tally = work().unwrap_or_else(|error| {
            eprintln!("error: {name}: {error:#}");
            Tally { passed: 0, failed: 1 }
        });
        self.total.passed += tally.passed;
        self.total.failed += tally.failed;
        let seconds = started.elapsed().as_secs_f64();
        self.lines.push(format!("{name:12} {seconds:>6.1} s  {} passed, {} failed", tally.passed, tally.failed));
    }

    fn finish(self, filter: Option<&str>) -> Result<()> {
        println!("\n{}\n", self.lines.join("\n"));
        println!("{} passed, {} failed", self.total.passed, self.total.failed);
        match (self.total, filter) {
            (Tally { passed: 0, failed: 0 }, Some(filter)) => bail!("no test matches {filter:?}"),
            (Tally { failed: 0, .. }, _) => Ok(()),
            (tally, _) => bail!("{} tests failed", tally.failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_what_cargo_prints() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(Tally::parse(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(Tally::parse("test config::build ... ok"), None);
    }
}
