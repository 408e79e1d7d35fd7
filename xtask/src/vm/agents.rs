//! What the guests run: the agent and the workload, for this host's architecture and for the other one.
//!
//! For its own architecture the agent of every other test goes in, with its shared libraries. For the other one it is
//! linked statically, by Debian's cross compiler and the standard library of Debian's Rust, unpacked into the cache.

use super::archive::Archive;
use super::kernels::Architecture;
use crate::setup::{bpf, debian};
use crate::shell::{command, output, run, step};
use crate::{build, places, shell};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Debian's package of the standard library's compiled form.
const LIBRARY: &str = "libstd-rust-web-dev";
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
    let cross = Cross::install(architecture, &folder)?;
    compile_workload(architecture, &cross.tool("gcc"), &workload)?;
    Ok(Programs { agent: cross.build_agent()?, libraries: Vec::new(), workload, busybox })
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

/// Compilers for the other architecture.
struct Cross {
    architecture: Architecture,
    folder: PathBuf,
    rustc: PathBuf,
}

impl Cross {
    /// Unpacks them unless they are there.
    fn install(architecture: Architecture, folder: &Path) -> Result<Self> {
        let chain = bpf::compiler()?;
        let version = debian::candidate(LIBRARY)?;
        let name = version.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "_");
        let folder = folder.join(format!("cross-{}-{name}", architecture.name()));
        let cross = Self { architecture, folder, rustc: chain.rustc() };
        places::fill(&cross.folder.join("gcc"), |root| cross.unpack_gcc(root))?;
        places::fill(&cross.folder.join("std"), |root| cross.unpack_library(root, &version))?;
        cross.write_tools()?;
        Ok(cross)
    }

    /// As GNU names what runs on the architecture.
    fn prefix(&self) -> String {
        format!("{}-linux-gnu", self.architecture.name().replace('_', "-"))
    }

    fn unpack_gcc(&self, root: &Path) -> Result<()> {
        let gcc = format!("gcc-{}", self.prefix());
        let headers = format!("libc6-dev-{}-cross", self.architecture.of_debian());
        let mut apt = command("apt-cache", ["depends", "--recurse", "--important", &gcc, &headers]);
        let of_target = [self.prefix(), format!("-{}-cross", self.architecture.of_debian())];
        let text = output(apt.env("LC_ALL", "C"))?;
        let packages: Vec<String> = text
            .lines()
            .filter(|line| of_target.iter().any(|part| line.contains(part)) && !line.starts_with([' ', '<']))
            .map(str::to_owned)
            .collect();
        step(&format!("fetching the C compiler for {} (about 36 MB)", self.architecture.name()));
        let downloads = root.with_extension("downloads");
        debian::unpack(&packages, &downloads, root)?;
        Ok(fs::remove_dir_all(downloads)?)
    }

    fn unpack_library(&self, root: &Path, version: &str) -> Result<()> {
        step(&format!("fetching Rust's standard library for {} (about 34 MB)", self.architecture.name()));
        let archive = Archive::of_host(self.architecture.of_debian())?;
        archive.unpack(&[&format!("{LIBRARY}={version}")], root)
    }

    /// `gcc` or `ar`, as a script that finds its libraries.
    fn tool(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    fn write_tools(&self) -> Result<()> {
        let root = self.folder.join("gcc/usr");
        let libraries = root.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
        for name in ["gcc", "ar"] {
            let program = root.join(format!("bin/{}-{name}", self.prefix()));
            debian::write_script(&self.tool(name), &program, &libraries)?;
        }
        Ok(())
    }

    /// The agent as a static program.
    fn build_agent(&self) -> Result<PathBuf> {
        step(&format!("building the agent for {}", self.architecture.name()));
        let started = Instant::now();
        let triple = format!("{}-unknown-linux-gnu", self.architecture.name());
        let (upper, lower) = (triple.to_uppercase().replace('-', "_"), triple.replace('-', "_"));
        let target = self.folder.join("target");
        let library = self.folder.join("std/usr");
        let mut cargo = shell::cargo(["build", "--locked", "--profile", "guest", "--package", "profiler-agent"]);
        cargo.args(["--target", &triple, "--target-dir"]).arg(&target);
        cargo.env("RUSTC", &self.rustc).env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        cargo.env(format!("CARGO_TARGET_{upper}_LINKER"), self.tool("gcc"));
        cargo.env(format!("CC_{lower}"), self.tool("gcc"));
        cargo.env(format!("AR_{lower}"), self.tool("ar"));
        let flags = format!("-Ctarget-feature=+crt-static\x1f--sysroot={}", library.display());
        run(cargo.env("CARGO_ENCODED_RUSTFLAGS", flags))?;
        println!("agent for {}: built in {:.0} s", self.architecture.name(), started.elapsed().as_secs_f64());
        Ok(target.join(triple).join("guest/profiler-agent"))
    }
}
