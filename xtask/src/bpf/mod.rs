//! `bpf`: builds the kernel program for each architecture into the objects that the agent embeds.
//!
//! Input: profiler-ebpf, profiler-common, the reference tool chain. Output: `profiler-agent/bpf/*.bpf.o`, each saying in
//! a section which sources and which compiler it is made of. Invariant: the bytes depend on those two alone, not on the
//! checkout's or the cache's path.

pub(crate) mod object;
pub(crate) mod source;

use crate::setup::bpf::Chain;
use crate::shell::{run, step};
use crate::{places, setup, shell, verify};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;

/// Architectures whose kernels differ in the layout of registers.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Arguments of `bpf`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing: prove that the committed objects belong to the sources
    #[arg(long)]
    check: bool,
}

/// The verb.
pub(crate) fn bpf(args: &Args) -> Result<()> {
    if args.check { check() } else { build(keep) }
}

/// Proves that the committed objects belong to the sources.
pub(crate) fn check() -> Result<()> {
    check_sources()?;
    build(compare)
}

/// Builds for every architecture and hands each object to `done`.
fn build(done: fn(&str, &[u8], &source::Stamp) -> Result<()>) -> Result<()> {
    let chain = setup::bpf::install()?;
    let _lock = places::lock("bpf-build")?;
    let stamp = source::Stamp { sources: source::hash()?, tools: chain.describe()? };
    for architecture in ARCHITECTURES {
        let built = object::finish(&compile(&chain, architecture)?, &stamp.to_string())?;
        done(architecture, &built, &stamp)?;
    }
    Ok(())
}

fn keep(architecture: &str, built: &[u8], _: &source::Stamp) -> Result<()> {
    let path = committed(architecture);
    fs::create_dir_all(path.parent().context("no folder")?)?;
    places::write(&path, built)?;
    step(&format!("{} bytes to {}", built.len(), path.display()));
    Ok(())
}

/// Fails where a committed object is made of other sources. Needs no tool chain.
pub(crate) fn check_sources() -> Result<()> {
    let sources = source::hash()?;
    for architecture in ARCHITECTURES {
        let path = committed(architecture);
        if recorded(architecture)?.sources != sources {
            bail!("{} is not made of these sources: run `cargo xtask bpf`", path.display());
        }
    }
    step("the BPF objects are made of these sources");
    Ok(())
}

fn committed(architecture: &str) -> PathBuf {
    places::workspace().join(format!("profiler-agent/bpf/profiler.{architecture}.bpf.o"))
}

fn recorded(architecture: &str) -> Result<source::Stamp> {
    let path = committed(architecture);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}: run `cargo xtask bpf`", path.display()))?;
    source::Stamp::parse(&object::stamp(&bytes)?)
}

/// Equal bytes with the recorded compiler. Another compiler proves less, and we say so: the rebuilt object must load.
fn compare(architecture: &str, built: &[u8], stamp: &source::Stamp) -> Result<()> {
    let path = committed(architecture);
    let recorded = recorded(architecture)?;
    if recorded.tools == stamp.tools {
        if fs::read(&path)? != built {
            bail!("{} differs from a rebuild with its own compiler: run `cargo xtask bpf`", path.display());
        }
        step(&format!("{architecture}: a rebuild gives equal bytes"));
        return Ok(());
    }
    step(&format!(
        "WARNING: {architecture}: recorded tools \"{}\" are not installable here (\"{}\"): bytes not compared",
        recorded.tools, stamp.tools
    ));
    if architecture == std::env::consts::ARCH {
        let rebuilt = places::cache()?.join(format!("rebuilt.{architecture}.bpf.o"));
        places::write(&rebuilt, built)?;
        verify::verify(Some(&rebuilt))?;
    }
    Ok(())
}

/// Compiles for one architecture and returns the linked object's bytes.
fn compile(chain: &Chain, architecture: &str) -> Result<Vec<u8>> {
    step(&format!("compiling the kernel program for {architecture}"));
    let target = places::cache()?.join("bpf-build").join(architecture);
    let mut cargo = shell::cargo(["build", "--quiet", "--locked", "--profile", "bpf", "--package", "profiler-ebpf"]);
    cargo.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    cargo.env("RUSTC", chain.rustc()).env("RUSTC_BOOTSTRAP", "1").env("RUSTC_WRAPPER", "");
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "").env_remove("RUSTFLAGS");
    cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_BUILD_BUILD_DIR", target.join("build"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(chain, architecture)?.join("\x1f"));
    run(&mut cargo)?;
    let path = target.join("bpfel-unknown-none/bpf/profiler");
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn flags(chain: &Chain, architecture: &str) -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("no cargo home")?;
    let mut flags = vec![format!("-Clinker={}", chain.linker().display())];
    flags.extend(source::FLAGS.iter().map(|flag| (*flag).to_owned()));
    flags.push(format!("--cfg=bpf_target_arch=\"{architecture}\""));
    let mut remapped = vec![(places::workspace(), "/profiler"), (chain.root(), "/rust"), (home.clone(), "/cargo")];
    // The folder of a registry is named after its host; the last match counts.
    let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten();
    remapped.extend(registries.filter_map(|entry| Some((entry.ok()?.path(), "/crates"))));
    flags.extend(remapped.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    Ok(flags)
}
