//! `fuzz`: feeds every reader of foreign bytes with inputs that coverage leads, and tells what broke.
//!
//! Programs, inputs found and logs are kept in the cache: the next run goes on from them.

mod outcome;
mod seeds;

use crate::setup::cargo_tools;
use crate::{places, shell};
use anyhow::{Context, Result, bail};
use outcome::Outcome;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Seconds per target by default, and in the long form of the tests.
const SECONDS: u64 = 600;
/// Bytes of an input at most: larger ones are slow and reach nothing new.
const MAX_INPUT_BYTES: u64 = 16 << 10;
/// What one input may take.
const MAX_SECONDS_PER_INPUT: u64 = 10;
/// What a target may take, counters and sanitizer included.
const MAX_RSS_MIB: u64 = 2048;
/// One allocation: no input is larger than [`MAX_INPUT_BYTES`], so nothing that it makes us keep is that large.
const MAX_ALLOCATION_MIB: u64 = 256;

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this target
    target: Option<String>,
    /// Seconds per target
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
}

/// The verb.
pub(crate) fn fuzz(args: &Args) -> Result<()> {
    let all = targets()?;
    let targets = match &args.target {
        None => all,
        Some(target) if all.contains(target) => vec![target.clone()],
        Some(target) => bail!("no fuzz target {target:?}; there are {}", all.join(", ")),
    };
    let binaries = build(&targets)?;
    let outcomes = targets.iter().map(|target| run(target, &binaries, args.seconds)).collect::<Result<Vec<_>>>()?;
    let broken: Vec<&str> = outcomes.iter().filter(|outcome| outcome.broke()).map(Outcome::target).collect();
    if !broken.is_empty() {
        bail!("{} of {} fuzz targets broke: {}", broken.len(), outcomes.len(), broken.join(", "));
    }
    Ok(())
}

/// All targets as a part of the tests. Building the fuzzers takes minutes: the short form only calls what they call, with
/// every seed, with seeds made wrong, and with every input that once broke a target.
pub(crate) fn test(long: bool) -> Result<()> {
    if long {
        return fuzz(&Args { target: None, seconds: SECONDS });
    }
    shell::run(&mut shell::cargo(["test", "--locked", "--quiet", "--package", "profiler-agent", "--lib", "fuzz::"]))
}

fn package() -> PathBuf {
    places::workspace().join("tests/fuzz")
}

/// Names of all targets.
fn targets() -> Result<Vec<String>> {
    let folder = package().join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned());
    let mut names = entries.map(|entry| Ok(name(entry?))).filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Builds the targets; returns the folder of their programs.
fn build(targets: &[String]) -> Result<PathBuf> {
    let cargo_fuzz = cargo_tools::install(cargo_tools::FUZZ)?;
    let folder = places::cache()?.join("fuzz");
    let target_folder = folder.join("target");
    let triple = host_triple()?;
    shell::step(&format!("building {} fuzz targets (about a minute the first time)", targets.len()));
    let sanitizer = if has_address_sanitizer()? { "address" } else { "none" };
    let mut build = shell::command(cargo_fuzz, ["fuzz", "build", "--dev", "--no-cfg-fuzzing"]);
    build.args(["--sanitizer", sanitizer, "--target", &triple, "--fuzz-dir"]).arg(package());
    build.arg("--target-dir").arg(&target_folder).args(targets.first().filter(|_| targets.len() == 1));
    // Sanitizers are an unstable flag of the stable compiler.
    build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_BUILD_BUILD_DIR", folder.join("build"));
    shell::run(build.current_dir(places::workspace()))?;
    Ok(target_folder.join(triple).join("debug"))
}

fn host_triple() -> Result<String> {
    let text = shell::output(&mut shell::command("rustc", ["-vV"]))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// rustup's compilers have its run time, those of distributions often do not.
fn has_address_sanitizer() -> Result<bool> {
    let folder = shell::output(&mut shell::command("rustc", ["--print", "target-libdir"]))?;
    let entries = fs::read_dir(folder.trim()).with_context(|| format!("cannot read {}", folder.trim()))?;
    Ok(entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().ends_with("_rt.asan.a")))
}

/// Runs one target and says what came of it.
fn run(target: &str, binaries: &Path, seconds: u64) -> Result<Outcome> {
    let cache = places::cache()?.join("fuzz");
    let _lock = places::lock(&format!("fuzz-{target}"))?;
    let (found, artifacts) = (cache.join("corpus").join(target), cache.join("artifacts").join(target));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    seeds::add(target, &found)?;
    let log = cache.join(format!("{target}.log"));
    let mut fuzzer = Command::new(binaries.join(target));
    fuzzer.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={MAX_INPUT_BYTES}"),
        format!("-timeout={MAX_SECONDS_PER_INPUT}"),
        format!("-rss_limit_mb={MAX_RSS_MIB}"),
        format!("-malloc_limit_mb={MAX_ALLOCATION_MIB}"),
        "-print_final_stats=1".to_owned(),
        format!("-artifact_prefix={}/", artifacts.display()),
    ]);
    fuzzer.arg(&found);
    let committed = ["corpus", "regressions"].map(|kind| package().join(kind).join(target));
    fuzzer.args(committed.iter().filter(|folder| folder.exists()));
    // The first folder is written to, so that nothing lands in the tree.
    fuzzer.env("ASAN_OPTIONS", "detect_odr_violation=0").env("RUST_BACKTRACE", "1");
    fuzzer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    let status = fuzzer.status().with_context(|| format!("cannot start fuzz target {target}"))?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let outcome = Outcome::new(target, status, &text);
    outcome.print(&log, &package().join("regressions").join(target));
    Ok(outcome)
}
