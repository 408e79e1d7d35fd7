//! What the guests run: the agent, an API server for it and the workload, for this host's architecture and for the other
//! one.
//!
//! For its own architecture the agent of every other test goes in, with its shared libraries. For the other one the static
//! one of the container image does.

use super::archive::Archive;
use super::kernels::Architecture;
use crate::setup::cross::Compiler;
use crate::shell::{command, output, run};
use crate::{build, places, static_agent};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Without frame pointers: its callers are found by unwind tables alone. On aarch64 return addresses are signed.
const WORKLOAD_FLAGS: &[&str] = &["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-static"];

/// The program of the tests that has an API server of Kubernetes.
const IN_POD: &str = "in-pod";

/// The programs of a guest.
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    pub(crate) in_pod: PathBuf,
    /// Shared libraries and the loader, by where they lie on this host and in the guest.
    pub(crate) libraries: BTreeSet<PathBuf>,
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
        let (agent, in_pod) = (build::agent(true)?, build::of_tests(IN_POD)?);
        compile_workload(architecture, Path::new("gcc"), &workload)?;
        return Ok(Programs { libraries: libraries(&[&agent, &in_pod])?, agent, in_pod, workload, busybox });
    }
    compile_workload(architecture, &Compiler::install(architecture)?.tool("gcc"), &workload)?;
    let (agent, in_pod) = (static_agent::of(architecture)?, static_agent::of_tests(architecture, IN_POD)?);
    Ok(Programs { agent, in_pod, libraries: BTreeSet::new(), workload, busybox })
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

/// The loader and the libraries of programs of this host, as `ldd` names them, each once.
fn libraries(programs: &[&Path]) -> Result<BTreeSet<PathBuf>> {
    let text = output(&mut command("ldd", programs))?;
    // A line that ends in a colon names the program.
    let lines = text.lines().filter(|line| !line.ends_with(':'));
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(lines.filter_map(path).collect())
}
