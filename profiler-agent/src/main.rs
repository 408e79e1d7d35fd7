//! Parses, builds, runs, drains; how, is in the library.

use clap::Parser as _;
use profiler_agent::cli::Cli;
use profiler_agent::{bpf, verbs};
use std::process::ExitCode;

fn main() -> ExitCode {
    bpf::bound_heap();
    bpf::bound_names();
    let code = verbs::execute(Cli::parse().verb).unwrap_or_else(|failure| {
        eprintln!("profiler-agent: {failure}");
        failure.code
    });
    ExitCode::from(code)
}
