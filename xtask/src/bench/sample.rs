//! `bench sample`: what one sample costs in the kernel, by the depth of its stack.

use super::{Metrics, Running, SETTLED, free_address, need_root};
use crate::{build, places, shell};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Calls below `main`.
const DEPTHS: [u32; 4] = [12, 60, 235, 900];
/// Frames beside those: work and a burner, main, and two of the C library.
const OTHER_FRAMES: u32 = 5;
const MEASURED: Duration = Duration::from_secs(10);

/// Prints a line for each depth, and what a frame adds.
pub(super) fn sample() -> Result<()> {
    need_root()?;
    let agent = build::agent(true)?;
    let program = compile()?;
    println!("one busy process without frame pointers, {} s each, 997 Hz", MEASURED.as_secs());
    println!("frames  samples  ns a sample  ns a frame more than before");
    let mut before: Option<(u32, f64)> = None;
    for depth in DEPTHS {
        let (samples, sample_ns) = measure(&agent, &program, depth)?;
        let frames = depth + OTHER_FRAMES;
        let step = before.map(|(fewer, ns)| format!("{:.1}", (sample_ns - ns) / f64::from(frames - fewer)));
        println!("{frames:>6}  {samples:>7.0}  {sample_ns:>11.0}  {:>10}", step.unwrap_or_default());
        before = Some((frames, sample_ns));
    }
    Ok(())
}

fn compile() -> Result<PathBuf> {
    let program = places::cache()?.join("bench-chain");
    let sources = ["chain.c", "leaf.c"].map(|name| places::workspace().join("tests/workloads/chains").join(name));
    let mut gcc = shell::command("gcc", ["-O2", "-fomit-frame-pointer", "-o"]);
    shell::run(gcc.arg(&program).args(sources))?;
    Ok(program)
}

/// Samples, and nanoseconds in the kernel programs for each.
fn measure(agent: &Path, program: &Path, depth: u32) -> Result<(f64, f64)> {
    let busy = Running::start(program, &["1e9", &depth.to_string()])?;
    let address = free_address()?;
    let pid = busy.pid().to_string();
    let _running = Running::start(agent, &["run", "--frequency", "997", "--pid", &pid, "--listen", &address])?;
    sleep(SETTLED);
    let before = Metrics::scrape(&address)?;
    sleep(MEASURED);
    let after = Metrics::scrape(&address)?;
    let grown = |name| after.get(name) - before.get(name);
    let samples = grown("profiler_samples_taken_total");
    Ok((samples, grown("profiler_bpf_run_seconds_total") * 1e9 / samples))
}
