//! `bench unwind`: what unwind tables of large files cost to build and to keep.

use crate::{places, shell};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Libraries that are measured where they are: the C library, and the largest that many machines have.
const LIBRARIES: &[&str] = &["libc.so.6", "libstdc++.so.6", "libLLVM", "libpython3", "libnode"];

/// Prints a line for each file.
pub(super) fn unwind() -> Result<()> {
    let example = example("unwind_rows")?;
    println!("      rows  M rows/s  bytes/row  table KiB  peak MiB  file");
    for file in files()? {
        let figures = shell::output(shell::command(&example, [&file]).current_dir("/"))?;
        println!("{}  {}", line(&figures).context("unexpected output of unwind_rows")?, file.display());
    }
    Ok(())
}

/// Builds an example of the agent's.
pub(super) fn example(name: &str) -> Result<PathBuf> {
    shell::step(&format!("building the example {name}, optimized"));
    let args = ["build", "--release", "--locked", "--package", "profiler-agent", "--example", name];
    shell::run(&mut shell::cargo(args))?;
    Ok(places::target().join("release/examples").join(name))
}

fn line(figures: &str) -> Option<String> {
    let figures: Vec<f64> = figures.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[rows, bytes, build_us, added_kib] = figures.as_slice() else { return None };
    let (speed, size) = (rows / build_us, bytes / rows);
    Some(format!("{rows:>10}  {speed:>8.2}  {size:>9.2}  {:>9.0}  {:>8.1}", bytes / 1024.0, added_kib / 1024.0))
}

/// What of these is on the host, each file once.
pub(super) fn files() -> Result<BTreeSet<PathBuf>> {
    let known = shell::output(&mut shell::command("ldconfig", ["-p"]))?;
    let is_wanted = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        LIBRARIES.iter().any(|library| name.starts_with(library))
    };
    let libraries = known.lines().filter_map(|line| line.rsplit(" => ").next()).filter(is_wanted).map(PathBuf::from);
    let programs = ["node", "java", "cargo"].into_iter().filter_map(program);
    let java = program("java").map(|java| java.with_file_name("../lib/server/libjvm.so"));
    let files = libraries.chain(programs).chain(java).filter_map(|path| path.canonicalize().ok());
    let files: BTreeSet<PathBuf> = files.filter(|path| path.is_file()).collect();
    if files.is_empty() {
        bail!("none of the files that are measured is here: {}", LIBRARIES.join(", "));
    }
    Ok(files)
}

/// The file that runs under a name.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| Path::is_file(path));
    found?.canonicalize().ok()
}
