//! `record`: one recording of the host, of some processes, or of a command and its children.

mod command;

use crate::aggregate;
use crate::bpf;
use crate::config::RecordConfig;
use crate::confine::{self, Verb};
use crate::exit::{self, Failure};
use crate::governor::{Frequencies, Pressure};
use crate::kubernetes::PodNames;
use crate::output::{self, Format, NotWritable, OutputFile};
use crate::process::Naming;
use crate::profile::Profile;
use crate::session::{Session, SessionOptions};
use crate::telemetry::ledger::{DropReason, Ledger, Pending};
use crate::telemetry::metrics::Metrics;
use crate::{doctor, host, otlp};
use anyhow::Context as _;
use command::Command;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, mpsc::Sender};
use std::time::{Duration, Instant};

pub use command::launch;

/// Without `--duration` and without a command.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// How often the progress line changes.
const PROGRESS: Duration = Duration::from_millis(250);
/// Width of the table where standard error is no terminal.
const TABLE_WIDTH: usize = 120;

/// Records; the command's own exit code, or 0.
pub fn record(config: &RecordConfig) -> Result<u8, Failure> {
    let file = config.output.as_deref().map(open_output).transpose()?;
    for pid in &config.sample.pids {
        if !lives(*pid) {
            return Err(Failure { code: exit::FAILED, message: format!("no process {pid}") });
        }
    }
    doctor::require()?;
    let interrupted = interrupts().map_err(Failure::from)?;
    let mut command = Command::start(&config.command)?;
    let (ledger, metrics) = (Arc::<Ledger>::default(), Arc::<Metrics>::default());
    let (sink, recorded) = channel();
    // The command has kept what it was given.
    let privileges = confine::privileges(Verb::Record).context("cannot give up privileges").map_err(Failure::from)?;
    let kallsyms = privileges.kallsyms.map(Arc::new);
    let session = start(config, command.as_ref(), &ledger, &metrics, kallsyms, sink)?;
    let started = Instant::now();
    let started_unix_ns = host::unix_ns();
    if let Some(command) = &command {
        command.go_on();
    }
    wait(config, command.as_mut(), &ledger, &interrupted, started);
    session.finish();
    let (profile, pending) = collect(&recorded, config, started_unix_ns, started.elapsed());
    let written = end(config, file, &profile, pending);
    report(&profile, &ledger);
    written.map_err(|error| Failure { code: exit::FAILED, message: error.to_string() })?;
    Ok(command.map_or(0, |command| command.status(&interrupted)))
}

fn lives(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn open_output(path: &std::path::Path) -> Result<(OutputFile, Format), Failure> {
    let format = Format::from_path(path).map_err(|error| Failure { code: exit::USAGE, message: error.to_string() })?;
    let file = OutputFile::create(path).map_err(|error| Failure { code: exit::FAILED, message: error.to_string() })?;
    Ok((file, format))
}

fn start(
    config: &RecordConfig,
    command: Option<&Command>,
    ledger: &Arc<Ledger>,
    metrics: &Arc<Metrics>,
    kallsyms: Option<Arc<File>>,
    sink: Sender<(Profile, Pending)>,
) -> Result<Session, Failure> {
    let mut sampling = bpf::Options::new(&config.sample);
    if let Some(command) = command {
        sampling.pids = vec![command.pid()];
        sampling.follow_forks = true;
    }
    let naming = Naming::new(config.sample.service_name_from.clone());
    let pods = PodNames::default();
    let options = SessionOptions {
        sampling,
        interval: None,
        naming,
        pods,
        debuginfod: None,
        kallsyms,
        pressure: Pressure::default(),
        frequencies: Frequencies::default(),
    };
    let session = Session::start(
        options,
        ledger,
        metrics,
        |_| (),
        move |profile, pending| {
            // The receiver lives until the session has ended.
            let _ = sink.send((profile, pending));
        },
    );
    session.map_err(Failure::from)
}

/// Until the time is up, the command or all processes have ended, or a signal came.
fn wait(
    config: &RecordConfig,
    mut command: Option<&mut Command>,
    ledger: &Ledger,
    interrupted: &AtomicBool,
    started: Instant,
) {
    let limit = config.duration.or(command.is_none().then_some(DEFAULT_DURATION));
    let progress = std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    let over = |command: Option<&mut &mut Command>| {
        interrupted.load(Ordering::Relaxed)
            || limit.is_some_and(|limit| started.elapsed() >= limit)
            || command.is_some_and(|command| command.has_ended())
            || !config.sample.pids.is_empty() && config.sample.pids.iter().all(|pid| !lives(*pid))
    };
    while !over(command.as_mut()) {
        let left = limit.map_or(LOOK, |limit| limit.saturating_sub(started.elapsed()));
        std::thread::sleep(left.min(LOOK));
        if progress && shown.elapsed() >= PROGRESS {
            shown = Instant::now();
            let (seconds, samples) = (started.elapsed().as_secs_f64(), ledger.snapshot().taken);
            let limit = limit.map(|limit| format!(" of {:.0}", limit.as_secs_f64())).unwrap_or_default();
            eprint!("\r\x1b[Krecording {seconds:.1}{limit} s, {samples} samples; Ctrl-C ends it");
            let _ = std::io::stderr().flush();
        }
    }
    if progress {
        eprint!("\r\x1b[K");
    }
}

/// The one profile of the recording; empty when there was no sample.
fn collect(
    recorded: &Receiver<(Profile, Pending)>,
    config: &RecordConfig,
    start_unix_ns: u64,
    duration: Duration,
) -> (Profile, Option<Pending>) {
    let (mut profiles, mut all): (Vec<Profile>, Option<Pending>) = (Vec::new(), None);
    for (profile, pending) in recorded.try_iter() {
        profiles.push(profile);
        match &mut all {
            Some(all) => all.merge(pending),
            None => all = Some(pending),
        }
    }
    let mut profile = match profiles.len() {
        1 => profiles.remove(0),
        _ => aggregate::merge::merge(&profiles),
    };
    if all.is_none() {
        profile.start_unix_ns = start_unix_ns;
        profile.duration_ns = duration.as_nanos() as u64;
        profile.period_ns = 1_000_000_000 / u64::from(config.sample.frequency);
    }
    (profile, all)
}

/// Writes the file; the table alone is a destination, too.
fn end(
    config: &RecordConfig,
    file: Option<(OutputFile, Format)>,
    profile: &Profile,
    pending: Option<Pending>,
) -> anyhow::Result<()> {
    let written = match file {
        Some((file, format)) => write(config, file, format, profile),
        None => Ok(()),
    };
    match (pending, &written) {
        (Some(pending), Ok(())) => pending.exported(),
        (Some(pending), Err(_)) => pending.dropped(DropReason::NotWritten),
        (None, _) => {}
    }
    written
}

fn write(config: &RecordConfig, file: OutputFile, format: Format, profile: &Profile) -> anyhow::Result<()> {
    let request =
        || otlp::whole(profile, &host::resource(Some(&host::name()), &config.sample.labels), config.sample.label_style);
    let bytes = output::render(profile, format, &host::name(), request)?;
    file.finish(&bytes).map_err(|error: NotWritable| error.into())
}

/// The table of the hottest functions and the ledger, on standard error.
fn report(profile: &Profile, ledger: &Ledger) {
    if profile.sample_count() == 0 {
        tracing::warn!("no samples: nothing that the filters allow used a CPU");
    } else {
        eprintln!("{}", output::top(profile, output::TOP_ROWS, terminal_width()));
    }
    eprintln!("{}", ledger.snapshot());
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(TABLE_WIDTH, |size| usize::from(size.ws_col)).max(40)
}

/// Set by SIGINT and SIGTERM.
fn interrupts() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}
