//! `vm`: the kernel matrix. Boots Debian's kernels in emulated machines, lets the agent profile a known program there,
//! and judges what it says on the serial console. One of them is killed while it writes a spool, to see what a power cut
//! leaves.
//!
//! Input: packages of Debian's suites, the agent, `guest/`. Output: one line per kernel, a console per kernel in the
//! cache. Invariant: nothing but the emulator is installed on this host.

mod agents;
mod archive;
mod initramfs;
mod kernels;
mod machine;
mod power;
mod verdict;

pub(crate) use archive::Archive;
pub(crate) use kernels::Architecture;

use crate::{places, shell, verify};
use agents::Programs;
use anyhow::{Result, bail, ensure};
use initramfs::Initramfs;
use kernels::Kernel;
use machine::Boot;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use verdict::Transcript;

/// How long a machine may take from power on to power off, and the only limit: emulation on a busy host is slow.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Arguments of `vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these: a name such as 6.1-aarch64, a series such as 5.10, or an architecture
    kernels: Vec<String>,
    /// Only those that `cargo xtask test` boots
    #[arg(long, conflicts_with = "kernels")]
    short: bool,
}

/// The verb.
pub(crate) fn vm(args: &Args) -> Result<()> {
    matrix(&kernels::chosen(&args.kernels, args.short)?, 1)
}

/// As a part of the tests.
pub(crate) fn test(long: bool) -> Result<()> {
    matrix(&kernels::chosen(&[], !long)?, if long { power::LONG_KILLS } else { 1 })
}

/// Boots each kernel, and kills the machine of one so often.
fn matrix(kernels: &[Kernel], kills: u32) -> Result<()> {
    let _lock = places::lock("vm")?;
    let mut failed = Vec::new();
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let kernels: Vec<&Kernel> = kernels.iter().filter(|kernel| kernel.architecture == architecture).collect();
        if kernels.is_empty() {
            continue;
        }
        machine::install(architecture)?;
        let initramfs = guest(architecture)?;
        for kernel in kernels {
            let name = kernel.name();
            shell::step(&format!("booting {name}"));
            if let Err(error) = try_kernel(kernel, &initramfs) {
                eprintln!("error: {name}: {error:#}");
                failed.push(name);
            }
            if (kernel.series, kernel.architecture) == (power::SERIES, Architecture::X86_64)
                && let Err(error) = power::cut(kernel, &initramfs, kills)
            {
                eprintln!("error: {}: {error:#}", kernel.name());
                failed.push(format!("power cuts of {}", kernel.name()));
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("{} failed: {}", failed.len(), failed.join(", ")),
    }
}

/// Builds the guest's files of an architecture.
fn guest(architecture: Architecture) -> Result<PathBuf> {
    let Programs { agent, in_pod, libraries, workload, busybox } = agents::programs(architecture)?;
    let mut archive = Initramfs::default();
    for folder in ["dev", "disk", "proc", "sys", "tmp"] {
        archive.folder(folder);
    }
    archive.program("init", include_bytes!("guest/init.sh"));
    archive.program("power", include_bytes!("guest/power.sh"));
    archive.program("pods", include_bytes!("guest/pods.sh"));
    let programs = [("busybox", &busybox), ("profiler-agent", &agent), ("in-pod", &in_pod), ("chain", &workload)];
    for (name, from) in programs {
        archive.copy(&format!("bin/{name}"), from)?;
    }
    for library in libraries {
        archive.copy(library.to_string_lossy().trim_start_matches('/'), &library)?;
    }
    let path = places::cache()?.join("vm").join(format!("initramfs-{}", architecture.name()));
    places::write(&path, &archive.finish())?;
    Ok(path)
}

/// Boots one kernel and prints its line.
fn try_kernel(kernel: &Kernel, initramfs: &Path) -> Result<()> {
    let image = kernel.image()?;
    let log = places::cache()?.join("vm").join(format!("console-{}.log", kernel.name()));
    let started = Instant::now();
    let boot = Boot { architecture: kernel.architecture, image: &image, initramfs, log: &log, patience: PATIENCE };
    let console = boot.run(None, "", &mut |_| false)?;
    let transcript = Transcript::parse(&console.lines);
    let seconds = |time: Duration| format!("{:.0} s", time.as_secs_f64());
    println!(
        "{:13} {:28} boot {:>5}, all {:>5}  {}",
        kernel.name(),
        transcript.fact("kernel").unwrap_or("no kernel"),
        console.booted.map_or("?".to_owned(), seconds),
        seconds(started.elapsed()),
        transcript.figures()
    );
    transcript.kernel_trouble().iter().for_each(|line| println!("{:13} kernel: {line}", ""));
    let problems = transcript.problems(verify::programs());
    ensure!(problems.is_empty(), "{}; the console is in {}", problems.join("; "), log.display());
    Ok(())
}
