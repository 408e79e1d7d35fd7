//! Whether the agent keeps its budget of CPU time, and what it costs without one: under busy threads, under processes
//! that come and go as fast as the machine makes them, and under thousands of different executables.

use super::{Metrics, Running, cpu_s, free_address, need_root, status_kib};
use crate::{build, places, shell};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Frequency and budget in percent of all CPUs' time.
const CASES: [(u32, Option<f64>); 6] =
    [(19, None), (99, None), (997, None), (99, Some(0.5)), (997, Some(1.0)), (997, Some(0.5))];
/// Until the governor has settled.
const SETTLED: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_secs(60);
const EXECUTABLES: usize = 5000;
/// How far beyond a budget is still kept.
const TOLERANCE: f64 = 1.2;

/// What runs beside the agent.
struct Load {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

/// The benchmark.
pub(super) fn governor() -> Result<()> {
    need_root()?;
    let agent = build::agent(true)?;
    let folder = places::cache()?.join("bench-governor");
    fs::create_dir_all(&folder)?;
    let cpus = std::thread::available_parallelism()?.get() as f64;
    let mut broken = Vec::new();
    for load in loads(&folder)? {
        println!("{}; CPU as a share of all CPUs' time", load.name);
        println!("   Hz  budget %  used %  agent %   BPF %  Hz at the end  peak RSS MiB  maps MiB  changes   shed");
        for (hz, budget) in CASES {
            let used = measure(&agent, &load, hz, budget, cpus)?;
            if budget.is_some_and(|budget| used > budget * TOLERANCE) {
                broken.push(format!("{} at {hz} Hz used {used:.3} % of {budget:?} %", load.name));
            }
        }
    }
    anyhow::ensure!(broken.is_empty(), "budgets not kept within 20 %: {}", broken.join("; "));
    Ok(())
}

fn loads(folder: &Path) -> Result<Vec<Load>> {
    let (threads, forks) = (compile(folder, "threads.c")?, compile(folder, "forks.c")?);
    let seconds = (SETTLED + MEASURED + SETTLED).as_secs().to_string();
    let storm = vec![seconds.clone(), "2".to_owned()];
    let mut many = storm.clone();
    many.extend(executables(folder)?);
    Ok(vec![
        Load { name: "four busy threads", program: threads, arguments: vec![seconds] },
        Load { name: "a fork storm", program: forks.clone(), arguments: storm },
        Load { name: "5,000 executables, one after the other, two at a time", program: forks, arguments: many },
    ])
}

fn compile(folder: &Path, name: &str) -> Result<PathBuf> {
    let program = folder.join(name.trim_end_matches(".c"));
    let mut gcc = shell::command("gcc", ["-O2", "-fno-omit-frame-pointer", "-pthread", "-o"]);
    shell::run(gcc.arg(&program).arg(places::workspace().join("tests/workloads").join(name)))?;
    Ok(program)
}

/// Small programs that differ from each other.
fn executables(folder: &Path) -> Result<Vec<String>> {
    let source = folder.join("small.c");
    fs::write(&source, "int main(void) { return 0; }\n")?;
    let small = folder.join("small");
    shell::run(shell::command("gcc", ["-O2", "-o"]).arg(&small).arg(&source))?;
    let bytes = fs::read(&small)?;
    let one = |number: usize| {
        let path = folder.join(format!("small{number}"));
        let mut own = bytes.clone();
        own.extend(number.to_le_bytes());
        fs::write(&path, own)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        path.into_os_string().into_string().ok().context("the cache's path is no text")
    };
    (0..EXECUTABLES).map(one).collect()
}

/// Percent of all CPUs' time that was used.
fn measure(agent: &Path, load: &Load, hz: u32, budget: Option<f64>, cpus: f64) -> Result<f64> {
    let address = free_address()?;
    let (frequency, percent) = (hz.to_string(), budget.map(|percent| format!("{percent}%")));
    let mut arguments = vec!["run", "--frequency", &frequency, "--listen", &address];
    if let Some(percent) = &percent {
        arguments.extend(["--cpu-budget", percent]);
    }
    let arguments_of_load: Vec<&str> = load.arguments.iter().map(String::as_str).collect();
    let _load = Running::start(&load.program, &arguments_of_load)?;
    let running = Running::start(agent, &arguments)?;
    sleep(SETTLED);
    let look = || -> Result<(Metrics, f64, Instant)> {
        Ok((Metrics::scrape(&address)?, cpu_s(running.pid())?, Instant::now()))
    };
    let (before, cpu_before, started) = look()?;
    sleep(MEASURED);
    let (after, cpu_after, ended) = look()?;
    let seconds = (ended - started).as_secs_f64() * cpus;
    let programs = |metrics: &Metrics| metrics.get("profiler_bpf_run_seconds_total");
    let agent_percent = 100.0 * (cpu_after - cpu_before) / seconds;
    let programs_percent = 100.0 * (programs(&after) - programs(&before)) / seconds;
    let maps = after.get("profiler_map_bytes") + after.get("profiler_unwind_bytes");
    println!(
        "{hz:>5}  {:>8}  {:>6.3}  {agent_percent:>7.3}  {programs_percent:>6.3}  {:>13}  {:>12.1}  {:>8.1}  {:>7}  {:>5}",
        budget.map_or("none".to_owned(), |budget| budget.to_string()),
        agent_percent + programs_percent,
        after.get("profiler_frequency_hertz"),
        status_kib(running.pid(), "VmHWM:")? / 1024.0,
        maps / f64::from(1 << 20),
        after.get("profiler_governor_changes_total{reason=\"cpu\"}"),
        after.get("profiler_process_events_lost_total{source=\"shed\"}"),
    );
    Ok(agent_percent + programs_percent)
}
