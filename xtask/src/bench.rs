//! `bench`: what the agent costs, measured on this machine.

mod programs;
mod sample;
mod symbolize;
mod unwind;

use crate::{build, places, shell};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which one
    #[arg(default_value = "overhead")]
    name: Name,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    /// CPU and memory of the agent and its kernel programs under a fixed load
    Overhead,
    /// Time in the kernel programs per sample and per frame, by depth
    Sample,
    /// Time and memory of naming addresses in large files on this host
    Symbolize,
    /// Time, memory and size of unwind tables of large files on this host
    Unwind,
}

const FREQUENCIES: [u32; 3] = [19, 99, 997];
/// For the mix of real programs.
const MIX_HZ: u32 = 99;
/// Busy processes beside the agent.
const LOAD: usize = 2;
/// How long each frequency is measured, after the start has settled.
const MEASURED: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(3);

/// The verb.
pub(crate) fn bench(args: &Args) -> Result<()> {
    match args.name {
        Name::Overhead => overhead(),
        Name::Sample => sample::sample(),
        Name::Symbolize => symbolize::symbolize(),
        Name::Unwind => unwind::unwind(),
    }
}

/// One line of the table.
struct Cost {
    /// Percent of one core by the agent's own metric, and by /proc.
    agent_percent: f64,
    agent_percent_proc: f64,
    /// Percent of one core spent in kernel programs.
    bpf_percent: f64,
    peak_kib: f64,
    map_kib: f64,
    first_sample_ms: f64,
    samples: f64,
}

fn need_root() -> Result<()> {
    if shell::is_root() {
        return Ok(());
    }
    Err(shell::Exit(77, "sampling every CPU needs root: run the benchmark as root".to_owned()).into())
}

/// Loopback, and a port that nobody listens on.
fn free_address() -> Result<String> {
    Ok(format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()))
}

fn overhead() -> Result<()> {
    need_root()?;
    let agent = build::agent(true)?;
    let burner = compile_burner()?;
    let load: Vec<Running> = (0..LOAD).map(|_| Running::start(&burner, &[])).collect::<Result<_>>()?;
    println!("{LOAD} busy processes, {} s each; CPU as a share of one core", MEASURED.as_secs());
    print_head();
    FREQUENCIES.iter().try_for_each(|&hz| print_cost(&agent, hz))?;
    drop(load);
    let mix = programs::Mix::start()?;
    println!("\n{}", mix.describe());
    print_head();
    print_cost(&agent, MIX_HZ)
}

fn print_head() {
    println!("   Hz  agent %  (/proc %)   BPF %  both %  peak RSS MiB  BPF maps MiB  first sample ms  samples");
}

fn print_cost(agent: &Path, hz: u32) -> Result<()> {
    let cost = measure(agent, hz)?;
    println!(
        "{hz:>5}  {:>7.3}  {:>9.3}  {:>6.3}  {:>6.3}  {:>12.1}  {:>12.1}  {:>15.0}  {:>7.0}",
        cost.agent_percent,
        cost.agent_percent_proc,
        cost.bpf_percent,
        cost.agent_percent + cost.bpf_percent,
        cost.peak_kib / 1024.0,
        cost.map_kib / 1024.0,
        cost.first_sample_ms,
        cost.samples,
    );
    Ok(())
}

fn compile_burner() -> Result<PathBuf> {
    let program = places::cache()?.join("bench-burn");
    let mut gcc = shell::command("gcc", ["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"]);
    shell::run(gcc.arg(&program).arg(places::workspace().join("tests/workloads/burn.c")))?;
    Ok(program)
}

fn measure(agent: &Path, hz: u32) -> Result<Cost> {
    let address = free_address()?;
    let started = Instant::now();
    let running = Running::start(agent, &["run", "--frequency", &hz.to_string(), "--listen", &address])?;
    let first_sample_ms = first_sample(&address, started)?;
    sleep(SETTLED);
    let (before, ticks_before, from) = (Metrics::scrape(&address)?, ticks(running.pid())?, Instant::now());
    sleep(MEASURED);
    let (after, ticks_after, seconds) =
        (Metrics::scrape(&address)?, ticks(running.pid())?, from.elapsed().as_secs_f64());
    let percent = |name| (after.get(name) - before.get(name)) / seconds * 100.0;
    Ok(Cost {
        agent_percent: percent("process_cpu_seconds_total"),
        // USER_HZ is 100 on every architecture that we run on.
        agent_percent_proc: (ticks_after - ticks_before) / 100.0 / seconds * 100.0,
        bpf_percent: percent("profiler_bpf_run_seconds_total"),
        peak_kib: peak_kib(running.pid())?,
        map_kib: (after.get("profiler_map_bytes") + after.get("profiler_unwind_bytes")) / 1024.0,
        first_sample_ms,
        samples: after.get("profiler_samples_taken_total") - before.get("profiler_samples_taken_total"),
    })
}

/// Milliseconds from the start of the process until its metrics show a sample.
fn first_sample(address: &str, started: Instant) -> Result<f64> {
    while started.elapsed() < Duration::from_secs(10) {
        if Metrics::scrape(address).is_ok_and(|metrics| metrics.get("profiler_samples_taken_total") > 0.0) {
            return Ok(started.elapsed().as_secs_f64() * 1000.0);
        }
        sleep(Duration::from_millis(2));
    }
    bail!("no sample within ten seconds: `profiler-agent doctor` says why")
}

/// CPU time of a process in ticks.
fn ticks(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the agent ended")?;
    // Fields after the name, which may hold anything: utime and stime are the 14th and 15th of the line.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    Ok(field(11).context("no utime")? + field(12).context("no stime")?)
}

fn peak_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("unexpected VmHWM {line:?}"))
}

/// The text of `/metrics`.
struct Metrics(String);

impl Metrics {
    fn scrape(address: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Self(text))
    }

    /// A metric without labels; 0 when it is not there.
    fn get(&self, name: &str) -> f64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    }
}

/// A started process; ended when dropped.
struct Running(Child);

impl Running {
    fn start(program: &Path, args: &[&str]) -> Result<Self> {
        let mut command = shell::command(program, args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("cannot start {}", program.display()))?))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
