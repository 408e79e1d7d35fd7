//! What the guests run: the agent and the workload, for this host's architecture and for the other one.
//!
//! For its own architecture the agent of every other test goes in, with its shared libraries. For the other one the static
//! one of the container image does.

use super::archive::Archive;
use super::kernels::Architecture;
use crate::setup::cross::Compiler;
use crate::shell::{command, output, run};
use crate::{build, places, static_agent};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Without frame pointers: its callers are found by unwind tables alone. On aarch64 return addresses are signed.
const WORKLOAD_FLAGS: &[&str] = &["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-static"];

/// The programs of a guest.
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    /// Shared libraries and the loader, by where they lie on this host and in the guest.
    pub(crate) libraries: Vec<PathBuf>,
    pub(crate) workload: PathBuf,
    pub(crate) busybox: PathBuf,
}

/// Builds them.
pub(crate) fn programs(architecture: Architecture) -> Result<Programs> {
    let folder = places::cache()?.join("vm");
    fs::create_dir_all(&folder)?;
    let busybox = busybox(architecture, &folder)?;
    let workload = folder.join(format!("chain-{}", architecture.name()));
    if architecture == Architecture::of_host() {
        let agent = build::agent(true)?;
        compile_workload(architecture, Path::new("gcc"), &workload)?;
        return Ok(Programs { libraries: libraries(&agent)?, agent, workload, busybox });
    }
    compile_workload(architecture, &Compiler::install(architecture)?.tool("gcc"), &workload)?;
    Ok(Programs { agent: static_agent::of(architecture)?, libraries: Vec::new(), workload, busybox })
}

fn busybox(architecture: Architecture, folder: &Path) -> Result<PathBuf> {
    let root = folder.join(format!("busybox-{}", architecture.name()));
    places::fill(&root, |root| {
        Archive::of_host(architecture.of_debian())?.unpack(&["busybox-static"], &root.join("root"))
    })?;
    ["bin/busybox", "usr/bin/busybox"]
        .map(|path| root.join("root").join(path))
        .into_iter()
        .find(|path| path.exists())
        .context("no busybox in busybox-static")
}

fn compile_workload(architecture: Architecture, compiler: &Path, to: &Path) -> Result<()> {
    let mut gcc = command(compiler, WORKLOAD_FLAGS);
    if architecture == Architecture::Aarch64 {
        gcc.arg("-mbranch-protection=pac-ret");
    }
    run(gcc.arg("-o").arg(to).arg(places::workspace().join("xtask/src/vm/guest/chain.c")))
}

/// The loader and the libraries of a program of this host, as `ldd` names them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = output(&mut command("ldd", [program]))?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}
