//! `bench unwind`: what unwind tables of large files cost to build and to keep.

use crate::{places, shell};
use anyhow::{Context, Result, bail};
use profiler_common::unwind::place::{Branch, MappingEntry};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Libraries that are measured where they are: the C library, and the largest that many machines have.
const LIBRARIES: &[&str] = &["libc.so.6", "libstdc++.so.6", "libLLVM", "libpython3", "libnode"];

const MIB: f64 = 1024.0 * 1024.0;
/// A busy host: so many processes, each of which maps so many files.
const PROCESSES: usize = 300;
const LARGEST: usize = 40;
/// Where programs and libraries lie; what is below `/usr/lib/debug` is never run.
const FOLDERS: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/local"];

/// What building one table took.
struct Figures {
    rows: f64,
    bytes: f64,
    build_us: f64,
    added_kib: f64,
}

/// Prints a line for each file, and one for a busy host.
pub(super) fn unwind() -> Result<()> {
    let example = example("unwind_rows")?;
    println!("      rows  M rows/s  bytes/row  table KiB  peak MiB  file");
    for file in files()? {
        println!("{}  {}", figures(&example, &file)?.line(), file.display());
    }
    let (mut rows, mut bytes) = (0.0, 0.0);
    for file in largest()? {
        // A file without rows costs nothing.
        if let Ok(figures) = figures(&example, &file) {
            (rows, bytes) = (rows + figures.rows, bytes + figures.bytes);
        }
    }
    let mappings = PROCESSES * (size_of::<Branch>() + LARGEST * size_of::<MappingEntry>());
    println!(
        "the {LARGEST} largest files of the host: {rows} rows, {:.1} MiB; {PROCESSES} processes that map them all: {:.1} MiB more",
        bytes / MIB,
        mappings as f64 / MIB
    );
    Ok(())
}

fn figures(example: &Path, file: &Path) -> Result<Figures> {
    let text = shell::output(shell::command(example, [file]).current_dir("/"))?;
    Figures::parse(&text).context("unexpected output of unwind_rows")
}

/// The largest ELF files.
fn largest() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() && path != Path::new("/usr/lib/debug") {
                folders.push(path);
            } else if kind.is_file() {
                files.push((entry.metadata()?.len(), path));
            }
        }
    }
    files.sort_unstable_by(|one, other| other.cmp(one));
    Ok(files.into_iter().map(|(_, path)| path).filter(|path| is_elf(path)).take(LARGEST).collect())
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// Builds an example of the agent's.
pub(super) fn example(name: &str) -> Result<PathBuf> {
    shell::step(&format!("building the example {name}, optimized"));
    let args = ["build", "--release", "--locked", "--package", "profiler-agent", "--example", name];
    shell::run(&mut shell::cargo(args))?;
    Ok(places::target().join("release/examples").join(name))
}

impl Figures {
    fn parse(text: &str) -> Option<Self> {
        let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let &[rows, bytes, build_us, added_kib] = figures.as_slice() else { return None };
        Some(Self { rows, bytes, build_us, added_kib })
    }

    fn line(&self) -> String {
        let Self { rows, bytes, build_us, added_kib } = self;
        let (speed, size) = (rows / build_us, bytes / rows);
        format!("{rows:>10}  {speed:>8.2}  {size:>9.2}  {:>9.0}  {:>8.1}", bytes / 1024.0, added_kib / 1024.0)
    }
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
