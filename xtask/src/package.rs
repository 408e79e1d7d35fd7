//! `package`: the agent for hosts without containers, as a Debian package and as a tar archive, both with the static
//! program of the image.
//!
//! The Debian package is described in the agent's Cargo.toml and made by cargo-deb. The same commit makes the same bytes.

use crate::image::{Choice, LICENSES, Source, Tree, gzip};
use crate::setup::cargo_tools;
use crate::setup::cross::Compiler;
use crate::shell::{self, step};
use crate::{places, static_agent};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of the tree that go into the archive beside the program, and their names there.
const FILES: &[(&str, &str)] = &[
    ("README.md", "README.md"),
    ("deploy/profiler.toml", "profiler.toml"),
    ("deploy/systemd/profiler-agent.service", "profiler-agent.service"),
];

/// Arguments of `package`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Of these architectures
    #[arg(long, value_enum, default_value_t = Choice::All)]
    arch: Choice,
    /// Folder to write to; target/package without it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// The verb.
pub(crate) fn package(args: &Args) -> Result<()> {
    build(args.arch, &args.output.clone().unwrap_or_else(folder))
}

/// Makes those that tests look at; returns their folder.
pub(crate) fn of_tests() -> Result<PathBuf> {
    build(Choice::All, &folder())?;
    Ok(folder())
}

fn folder() -> PathBuf {
    places::target().join("package")
}

/// Makes both of each architecture, and says how large they are.
fn build(choice: Choice, folder: &Path) -> Result<()> {
    let source = Source::read()?;
    let compilers = choice.compilers()?;
    let agents = static_agent::build(&compilers)?;
    let cargo_deb = cargo_tools::install(cargo_tools::DEB)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (compiler, agent) in compilers.iter().zip(agents) {
        step(&format!("packaging the agent for {}", compiler.architecture.name()));
        let paths = [archive(&source, compiler, &agent, folder)?, debian(&source, compiler, &cargo_deb, folder)?];
        for path in paths {
            println!("{}  {:.1} MB", path.display(), fs::metadata(&path)?.len() as f64 / 1e6);
        }
    }
    Ok(())
}

/// `profiler-agent-VERSION-linux-ARCH.tar.gz`, with everything in one folder.
fn archive(source: &Source, compiler: &Compiler, agent: &Path, folder: &Path) -> Result<PathBuf> {
    let name = format!("profiler-agent-{}-linux-{}", source.version, compiler.architecture.of_debian());
    let mut tree = Tree::default();
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    tree.file(&format!("{name}/profiler-agent"), 0o755, read(agent)?);
    let licenses = LICENSES.iter().map(|file| (*file, *file));
    for (from, to) in FILES.iter().copied().chain(licenses) {
        tree.file(&format!("{name}/{to}"), 0o644, read(&places::workspace().join(from))?);
    }
    let path = folder.join(format!("{name}.tar.gz"));
    places::write(&path, &gzip(&tree.tar(source.epoch)?)?)?;
    Ok(path)
}

/// `profiler-agent_VERSION-1_ARCH.deb`.
fn debian(source: &Source, compiler: &Compiler, cargo_deb: &Path, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(format!("profiler-agent_{}-1_{}.deb", source.version, compiler.architecture.of_debian()));
    let mut deb = shell::command(cargo_deb, ["--package", "profiler-agent", "--no-build", "--no-strip", "--locked"]);
    deb.args(["--target", &compiler.triple(), "--compress-system", "--quiet", "--output"]).arg(&path);
    deb.env("SOURCE_DATE_EPOCH", source.epoch.to_string()).env("CARGO_TARGET_DIR", static_agent::target());
    shell::run(deb.current_dir(places::workspace()))?;
    Ok(path)
}
