//! `setup`: installs what a part lacks. Input: a part's name. Output: tools in the cache or Debian packages on the host.
//!
//! Invariant: nothing is done twice, nothing half done is left behind under its final name.

pub(crate) mod bpf;
pub(crate) mod debian;
pub(crate) mod fuzz;
pub(crate) mod go;

use crate::shell::step;
use anyhow::Result;
use std::path::PathBuf;

/// Arguments of `setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The part; all of them without one
    part: Option<Part>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    /// The reference tool chain of `cargo xtask bpf`
    Bpf,
    /// What the tests start: a browser, C and Go compilers, Python, Node and Java
    Test,
    /// cargo-fuzz
    Fuzz,
}

/// Programs that tests start, and the Debian packages that have them.
const TEST_PROGRAMS: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("setpriv", "util-linux"),
    ("readelf", "binutils"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("java", "default-jre-headless"),
    ("g++", "g++"),
    ("clang", "clang"),
    ("ld.lld", "lld"),
    ("musl-gcc", "musl-tools"),
    ("xargs", "findutils"),
    ("objcopy", "binutils"),
    ("xz", "xz-utils"),
    ("dwz", "dwz"),
];

/// The verb.
pub(crate) fn setup(args: &Args) -> Result<()> {
    let parts: &[Part] = args.part.as_ref().map_or(&[Part::Bpf, Part::Test, Part::Fuzz], std::slice::from_ref);
    for part in parts {
        match part {
            Part::Bpf => step(&format!("BPF tool chain: {}", bpf::install()?.describe()?)),
            Part::Fuzz => step(&format!("cargo-fuzz: {}", fuzz::install()?.display())),
            Part::Test => step(&format!("programs of the tests are there; {}", go::describe(&test()?)?)),
        }
    }
    Ok(())
}

/// Installs what the tests start; returns the folder of `go`.
pub(crate) fn test() -> Result<PathBuf> {
    debian::install(TEST_PROGRAMS)?;
    go::install()
}
