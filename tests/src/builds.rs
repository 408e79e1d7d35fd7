//! Workloads of call chains, compiled in a row of a table, and what lies below their `main`.

use crate::chain::{Link, functions};
use crate::workload::{run, source};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What calls `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// glibc's library, then `_start`.
    Glibc,
    /// The same, in the program itself.
    GlibcStatic,
    /// musl has no unwind tables: only what `main` returns to is known.
    Musl,
    /// The same, in the program itself.
    MuslStatic,
}

impl Start {
    /// These functions, `main` and what is below it.
    #[must_use]
    pub fn below_main(self, mut links: Vec<Link>) -> Vec<Link> {
        links.extend(functions(&["main"]));
        // Newer libraries have a function of their own in between, which they do not export.
        let between = || Link::Perhaps(&["__libc_start_call_main", "libc.so.6+"]);
        let glibc = || [vec![between()], functions(&["__libc_start_main", "_start"])].concat();
        links.extend(match self {
            Self::Glibc | Self::GlibcStatic => glibc(),
            Self::Musl => vec![Link::Module("libc.so"), Link::Rest],
            Self::MuslStatic => vec![Link::Runtime(&["libc_start_main"]), Link::Rest],
        });
        links
    }
}

/// Compiles sources of workloads/chains as `compiler flags…` into a program, or a library, of this name.
#[must_use]
pub fn compile(folder: &Path, name: &str, build: &str, sources: &[&str]) -> PathBuf {
    let mut words = build.split(' ');
    let program = folder.join(name);
    let mut compiler = Command::new(words.next().unwrap_or_default());
    let sources = sources.iter().map(|name| source("chains").join(name));
    run(compiler.arg("-o").arg(&program).args(sources).args(words));
    program
}
