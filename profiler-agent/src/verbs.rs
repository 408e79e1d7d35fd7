//! The commands: from the command line to the stages.

use crate::cli::{ConfigVerb, Flags, RECORD, RUN, Verb};
use crate::config::{self, Settings, process_environment};
use crate::confine::{self, Arguments};
use crate::exit::{self, Failure};
use crate::output::Format;
use crate::spool::trial;
use crate::telemetry::log;
use crate::{agent, bpf, doctor, explain, recording};
use anyhow::Context as _;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

/// Executes a command; its exit code.
pub fn execute(verb: Verb) -> Result<u8, Failure> {
    let arguments = confine::hide_arguments();
    match verb {
        Verb::Run(flags) => run_agent(&flags, arguments),
        Verb::Record { flags, command } => record(&flags, command),
        Verb::Doctor { json, flags } => examine(json, &flags),
        Verb::Explain { pid } => explain_process(pid),
        Verb::Config(ConfigVerb::Check { file }) => check(&file),
        Verb::Config(ConfigVerb::Show(flags)) => show(&flags),
        Verb::Verify => verify(),
        Verb::SpoolWrite { folder } => try_spool(trial::write(&folder, std::io::stdout())),
        Verb::SpoolRead { folder } => try_spool(trial::read(&folder, std::io::stdout())),
        Verb::Launch { command } => Err(recording::launch(&command)),
    }
}

fn run_agent(flags: &Flags<RUN>, arguments: Arguments) -> Result<u8, Failure> {
    let config = config::run(&flags.0, &process_environment)?;
    log::start(config.sample.log);
    arguments.report();
    agent::run(config, &|| config::run(&flags.0, &process_environment))?;
    Ok(exit::OK)
}

fn record(flags: &Flags<RECORD>, command: Vec<OsString>) -> Result<u8, Failure> {
    let config = config::record(&flags.0, command, &process_environment)?;
    if let Some(output) = &config.output {
        Format::from_path(output).map_err(|error| Failure { code: exit::USAGE, message: error.to_string() })?;
    }
    log::start(config.sample.log);
    recording::record(&config)
}

fn examine(json: bool, flags: &Flags<RUN>) -> Result<u8, Failure> {
    let report = doctor::examine(&config::run(&flags.0, &process_environment));
    print(&if json { report.json() } else { report.text() })?;
    Ok(if report.run_would_work() { exit::OK } else { exit::FAILED })
}

fn explain_process(pid: u32) -> Result<u8, Failure> {
    let config = config::run(&Default::default(), &process_environment)?;
    let report = explain::explain(pid, config.sample.service_name_from, &config.container_sockets)?;
    print(&report.text(explain::terminal_width()))?;
    Ok(exit::OK)
}

fn check(file: &Path) -> Result<u8, Failure> {
    config::check_file(file)?;
    print(&format!("{}: ok\n", file.display()))?;
    Ok(exit::OK)
}

fn show(flags: &Flags<RUN>) -> Result<u8, Failure> {
    let settings = Settings::new(config::Command::Run, &flags.0, &process_environment)?;
    print(&config::show(&settings))?;
    Ok(exit::OK)
}

fn verify() -> Result<u8, Failure> {
    doctor::require()?;
    let programs = bpf::verified().context("cannot load the kernel programs").map_err(Failure::from)?;
    let lines = programs.iter().map(|(name, instructions)| format!("{name}\t{instructions}\n"));
    print(&lines.collect::<String>())?;
    Ok(exit::OK)
}

fn try_spool(ended: Result<(), trial::TrialError>) -> Result<u8, Failure> {
    ended.map(|()| exit::OK).map_err(|error| Failure { code: exit::FAILED, message: error.to_string() })
}

/// Writes to standard output; a reader that closes it early, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure { code: exit::FAILED, message: format!("cannot write to standard output: {error}") })
        }
        _ => Ok(()),
    }
}
