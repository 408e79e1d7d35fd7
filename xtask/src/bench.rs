//! `bench`: what the agent costs, measured on this machine.

mod governor;
mod postgres;
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
use std::process::{Child, Command, Stdio};
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
    /// Whether budgets of CPU time are kept, and what process storms cost
    Governor,
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
/// Wait until the agent is up.
const SETTLED: Duration = Duration::from_secs(3);
/// Under busy processes, which need next to nothing of what is built at the start.
const BUSY: [Span; 1] = [Span { from_s: 3, to_s: 33 }];
/// Under real programs: the start with all that is built then, and what goes on for good.
const MIX: [Span; 2] = [Span { from_s: 0, to_s: 30 }, Span { from_s: 30, to_s: 90 }];

/// Seconds since the agent was started.
#[derive(Clone, Copy)]
struct Span {
    from_s: u64,
    to_s: u64,
}

/// The verb.
pub(crate) fn bench(args: &Args) -> Result<()> {
    match args.name {
        Name::Overhead => overhead(),
        Name::Governor => governor::governor(),
        Name::Sample => sample::sample(),
        Name::Symbolize => symbolize::symbolize(),
        Name::Unwind => unwind::unwind(),
    }
}

/// One line of the table.
struct Cost {
    span: Span,
    /// Percent of one core by the agent's own metric, and by /proc.
    agent_percent: f64,
    agent_percent_proc: f64,
    /// Percent of one core spent in kernel programs.
    bpf_percent: f64,
    /// Resident at most since the start, and at the end.
    peak_kib: f64,
    resident_kib: f64,
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
    println!("{LOAD} busy processes; seconds since the agent's start, CPU as a share of one core");
    print_head();
    FREQUENCIES.iter().try_for_each(|&hz| print_costs(&agent, hz, &BUSY))?;
    drop(load);
    let mut mix = programs::Mix::start()?;
    println!("\n{}; the start, and what follows", mix.describe());
    print_head();
    print_costs(&agent, MIX_HZ, &MIX)?;
    mix.add_compiler()?;
    println!("\n{}, the last with a compiler that it starts again and again", mix.describe());
    print_head();
    print_costs(&agent, MIX_HZ, &MIX)
}

fn print_head() {
    println!(
        "   Hz  seconds  agent %  (/proc %)   BPF %  both %  RSS MiB  peak RSS MiB  BPF maps MiB  first sample ms  samples"
    );
}

fn print_costs(agent: &Path, hz: u32, spans: &[Span]) -> Result<()> {
    for cost in measure(agent, hz, spans)? {
        println!(
            "{hz:>5}  {:>7}  {:>7.3}  {:>9.3}  {:>6.3}  {:>6.3}  {:>7.1}  {:>12.1}  {:>12.1}  {:>15.0}  {:>7.0}",
            format!("{}-{}", cost.span.from_s, cost.span.to_s),
            cost.agent_percent,
            cost.agent_percent_proc,
            cost.bpf_percent,
            cost.agent_percent + cost.bpf_percent,
            cost.resident_kib / 1024.0,
            cost.peak_kib / 1024.0,
            cost.map_kib / 1024.0,
            cost.first_sample_ms,
            cost.samples,
        );
    }
    Ok(())
}

fn compile_burner() -> Result<PathBuf> {
    let program = places::cache()?.join("bench-burn");
    let mut gcc = shell::command("gcc", ["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"]);
    shell::run(gcc.arg(&program).arg(places::workspace().join("tests/workloads/burn.c")))?;
    Ok(program)
}

/// Starts an agent and measures it in each span.
fn measure(agent: &Path, hz: u32, spans: &[Span]) -> Result<Vec<Cost>> {
    let address = free_address()?;
    let started = Instant::now();
    let running = Running::start(agent, &["run", "--frequency", &hz.to_string(), "--listen", &address])?;
    let first_sample_ms = first_sample(&address, started)?;
    let cost = |&span: &Span| {
        let before = Reading::take(&address, running.pid(), started, span.from_s)?;
        let after = Reading::take(&address, running.pid(), started, span.to_s)?;
        let percent = |of: &dyn Fn(&Reading) -> f64| (of(&after) - of(&before)) / (after.at_s - before.at_s) * 100.0;
        let metric = |name: &'static str| percent(&move |reading: &Reading| reading.metrics.get(name));
        let samples = |reading: &Reading| reading.metrics.get("profiler_samples_taken_total");
        Ok(Cost {
            span,
            agent_percent: metric("process_cpu_seconds_total"),
            agent_percent_proc: percent(&|reading| reading.cpu_s),
            bpf_percent: metric("profiler_bpf_run_seconds_total"),
            peak_kib: status_kib(running.pid(), "VmHWM:")?,
            resident_kib: status_kib(running.pid(), "VmRSS:")?,
            map_kib: (after.metrics.get("profiler_map_bytes") + after.metrics.get("profiler_unwind_bytes")) / 1024.0,
            first_sample_ms,
            samples: samples(&after) - samples(&before),
        })
    };
    spans.iter().map(cost).collect()
}

/// What an agent had used up at a time.
#[derive(Default)]
struct Reading {
    at_s: f64,
    cpu_s: f64,
    metrics: Metrics,
}

impl Reading {
    /// So many seconds after the start; at the start itself nothing is used.
    fn take(address: &str, pid: u32, started: Instant, at_s: u64) -> Result<Self> {
        if at_s == 0 {
            return Ok(Self::default());
        }
        sleep(Duration::from_secs(at_s).saturating_sub(started.elapsed()));
        let (metrics, cpu_s) = (Metrics::scrape(address)?, cpu_s(pid)?);
        Ok(Self { at_s: started.elapsed().as_secs_f64(), cpu_s, metrics })
    }
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

/// CPU time of a process in seconds.
fn cpu_s(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the agent ended")?;
    // Fields after the name, which may hold anything: utime and stime are the 14th and 15th of the line.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    let ticks = field(11).context("no utime")? + field(12).context("no stime")?;
    // USER_HZ is 100 on every architecture that we run on.
    Ok(ticks / 100.0)
}

/// A line of a process's status.
fn status_kib(pid: u32, key: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("unexpected {key} {line:?}"))
}

/// The text of `/metrics`.
#[derive(Default)]
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
        Self::spawn(&mut shell::command(program, args))
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", command.get_program().display()))?))
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
