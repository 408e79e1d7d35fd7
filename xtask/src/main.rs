//! The project's own commands, one file per verb.
//!
//! Every verb installs what it needs and nothing else, may be repeated, and says what it does in one line each.

mod bench;
mod bpf;
mod build;
mod deploy;
mod fuzz;
mod image;
mod lint;
mod package;
mod places;
mod run;
mod setup;
mod shell;
mod static_agent;
mod test;
mod verify;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what a part needs
    Setup(setup::Args),
    /// Build the agent and run it: the last hour of this host on a page at loopback
    Run(run::Args),
    /// Build the agent
    Build(build::Args),
    /// Run everything that proves the agent, with real parts
    Test(test::Args),
    /// Check format, clippy, licences, and that generated files are current
    Lint,
    /// Rebuild the BPF objects from source
    Bpf(bpf::Args),
    /// Load every BPF program, print the instructions verified, fail above the budget
    Verify,
    /// Boot the kernels of the matrix in emulated machines and profile a known program in each
    Vm(vm::Args),
    /// Feed every reader of foreign bytes with wrong ones
    Fuzz(fuzz::Args),
    /// Make the container image of the agent, without a container daemon
    Image(image::Args),
    /// Make the Debian package and the tar archive of the agent
    Package(package::Args),
    /// Measure
    Bench(bench::Args),
    /// Write what deploy/ has from one place; check it; render and verify all of it
    Deploy(deploy::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Setup(args) => setup::setup(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Build(args) => build::build(&args),
        Verb::Test(args) => test::test(&args),
        Verb::Lint => lint::lint(),
        Verb::Bpf(args) => bpf::bpf(&args),
        Verb::Verify => verify::verify(None),
        Verb::Vm(args) => vm::vm(&args),
        Verb::Fuzz(args) => fuzz::fuzz(&args),
        Verb::Image(args) => image::image(&args),
        Verb::Package(args) => package::package(&args),
        Verb::Bench(args) => bench::bench(&args),
        Verb::Deploy(args) => deploy::deploy(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(shell::exit_code(&error))
        }
    }
}
