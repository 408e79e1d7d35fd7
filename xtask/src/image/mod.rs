//! `image`: the agent as a container image made of nothing else.
//!
//! Input: this tree and its locked crates. Output: an OCI layout as a folder and as an archive, and a list of what is
//! linked (SBOM) per architecture. Invariant: the same commit makes the same bytes, wherever it is built with the same
//! Debian packages; no daemon and no registry is asked.

mod layout;
mod report;
mod root;
mod sbom;
mod source;
mod tree;

pub(crate) use root::LICENSES;
pub(crate) use source::Source;
pub(crate) use tree::{Tree, gzip};

use crate::setup::cross::Compiler;
use crate::shell::step;
use crate::vm::Architecture;
use crate::{places, static_agent};
use anyhow::{Context, Result};
use layout::Layout;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the image.
const NAME: &str = "profiler-agent";

/// Arguments of `image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Of these architectures
    #[arg(long, value_enum, default_value_t = Choice::All)]
    arch: Choice,
    /// Folder to write to; target/image without it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Name of the image without a tag, which is the version
    #[arg(long, default_value = NAME)]
    name: String,
    /// Build nothing; say digests and sizes of what is there
    #[arg(long)]
    print: bool,
}

/// Architectures, by the names that images and packages use.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Choice {
    /// x86_64
    Amd64,
    /// aarch64
    Arm64,
    /// Both
    All,
}

impl Choice {
    /// Compilers for them.
    pub(crate) fn compilers(self) -> Result<Vec<Compiler>> {
        let architectures: &[Architecture] = match self {
            Self::Amd64 => &[Architecture::X86_64],
            Self::Arm64 => &[Architecture::Aarch64],
            Self::All => &[Architecture::X86_64, Architecture::Aarch64],
        };
        architectures.iter().map(|architecture| Compiler::install(*architecture)).collect()
    }
}

/// The verb.
pub(crate) fn image(args: &Args) -> Result<()> {
    let folder = args.output.clone().unwrap_or_else(folder);
    if !args.print {
        build(args.arch, &args.name, &folder)?;
    }
    report::print(&folder.join("oci"))
}

/// Makes the one that tests look at; returns its folder.
pub(crate) fn of_tests() -> Result<PathBuf> {
    let folder = folder();
    build(Choice::All, NAME, &folder)?;
    report::print(&folder.join("oci"))?;
    Ok(folder)
}

fn folder() -> PathBuf {
    places::target().join("image")
}

fn build(choice: Choice, name: &str, folder: &Path) -> Result<()> {
    let source = Source::read()?;
    let compilers = choice.compilers()?;
    let agents = static_agent::build(&compilers)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut layout = Layout::new(&source)?;
    for (compiler, agent) in compilers.iter().zip(agents) {
        let architecture = compiler.architecture;
        step(&format!("packing the image for {}", architecture.name()));
        let sbom = sbom::document(&source, compiler)?;
        let path = format!("profiler-agent-{}-{}.cdx.json", source.version, architecture.of_debian());
        places::write(&folder.join(path), &sbom)?;
        layout.add(architecture, &root::files(&agent, &sbom)?)?;
    }
    let tree = layout.finish(name, &source.version)?;
    let archive = folder.join(format!("profiler-agent-{}-oci.tar", source.version));
    layout::write(&tree, &folder.join("oci"), &archive)
}
