//! `run`: continuous profiling until SIGTERM or SIGINT; then what is left is sent, and the ledger is logged.

use crate::config::RunConfig;
use crate::exit::Failure;
use crate::export::Exporter;
use crate::history::History;
use crate::host;
use crate::otlp::{self, MAX_PART_BYTES};
use crate::page::{self, Access, Downloads, PageState, Selection, Title};
use crate::process::Naming;
use crate::profile::Profile;
use crate::session::{Session, SessionOptions};
use crate::symbolize::{Debuginfod, DebuginfodOptions};
use crate::telemetry::ledger::{DropReason, Ledger, Pending};
use crate::telemetry::lose;
use crate::telemetry::metrics::{Metric, Metrics};
use crate::telemetry::readiness::Flow;
use crate::{aggregate, bpf, doctor, output};
use anyhow::Context as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How long sending what is left may take after SIGTERM; Kubernetes waits thirty seconds.
const DRAIN: Duration = Duration::from_secs(10);
/// A longer token is a mistake.
const MAX_TOKEN_BYTES: u64 = 4096;
/// How often the agent looks at itself.
const LOOK: Duration = Duration::from_secs(1);

/// Profiles until told to stop.
pub fn run(config: RunConfig) -> Result<(), Failure> {
    doctor::require()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime").map_err(Failure::from)?;
    runtime.block_on(agent(config)).map_err(Failure::from)
}

async fn agent(config: RunConfig) -> anyhow::Result<()> {
    let listener = listen(&config).await?;
    let token = config.page_token_file.as_deref().map(page_token).transpose()?;
    let (ledger, metrics, history) = (Arc::<Ledger>::default(), Arc::<Metrics>::default(), Arc::<History>::default());
    metrics.set(Metric::BuildInfo, env!("CARGO_PKG_VERSION"), 1.0);
    let exporter = exporter(&config, &metrics)?;
    let mut signals = Signals::new()?;
    let destination = Destination {
        history: Arc::clone(&history),
        exporter: exporter.clone(),
        resource: host::resource(&config.sample.labels),
        config: config.clone(),
    };
    let options = session_options(&config, &metrics)?;
    let session =
        Session::start(options, &ledger, &metrics, move |profile, pending| destination.take(&profile, pending))?;
    tracing::info!(frequency_hz = config.sample.frequency, "sampling every CPU");
    let flow = Arc::new(Flow::new(config.interval));
    let (stop_page, page_stopped) = oneshot::channel::<()>();
    let page = listener.map(|listener| {
        let state = page_state(&config, &ledger, &metrics, history, Arc::clone(&flow), exporter.clone(), token);
        tokio::spawn(page::serve(listener, Arc::new(state), async { drop(page_stopped.await) }))
    });
    let looking = tokio::spawn(look(Arc::clone(&ledger), metrics, flow));
    signals.wait().await;
    tokio::task::spawn_blocking(|| session.finish()).await.context("cannot end sampling")?;
    looking.abort();
    drop(stop_page);
    if let Some(page) = page {
        page.await.context("the page's task failed")?.context("the page failed")?;
    }
    if let Some(exporter) = exporter.and_then(Arc::into_inner) {
        exporter.drain(Instant::now() + DRAIN).await;
    }
    tracing::info!("{}", ledger.snapshot());
    Ok(())
}

async fn listen(config: &RunConfig) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another address with --listen, or --listen off")
    })?;
    tracing::info!("the page is at http://{}/", listener.local_addr().unwrap_or(address));
    Ok(Some(listener))
}

/// The first line of the file.
fn page_token(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text));
    file.with_context(|| format!("cannot read the page's token from {}", path.display()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    anyhow::ensure!(!token.is_empty(), "the page's token in {} is empty", path.display());
    Ok(token.to_owned())
}

fn exporter(config: &RunConfig, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Arc<Exporter>>> {
    if config.export.endpoints.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Exporter::start(&config.export, Arc::clone(metrics), None)?)))
}

fn debuginfod(config: &RunConfig, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Arc<Debuginfod>>> {
    if config.debuginfod.is_empty() {
        return Ok(None);
    }
    let options = DebuginfodOptions {
        urls: config.debuginfod.clone(),
        ca_file: config.export.ca_file.clone(),
        folder: DebuginfodOptions::default_folder(),
    };
    Ok(Some(Arc::new(Debuginfod::start(&options, Arc::clone(metrics))?)))
}

fn session_options(config: &RunConfig, metrics: &Arc<Metrics>) -> anyhow::Result<SessionOptions> {
    Ok(SessionOptions {
        sampling: bpf::Options::new(&config.sample),
        interval: Some(config.interval),
        naming: Naming::new(config.sample.service_name_from.clone()),
        debuginfod: debuginfod(config, metrics)?,
    })
}

/// Where windows go.
struct Destination {
    history: Arc<History>,
    exporter: Option<Arc<Exporter>>,
    resource: Vec<(Arc<str>, Arc<str>)>,
    config: RunConfig,
}

impl Destination {
    fn take(&self, profile: &Profile, pending: Pending) {
        let kept = self.history.add(profile);
        if let Err(error) = &kept {
            tracing::warn!(%error, "a window does not fit into the hour kept in memory");
        }
        match &self.exporter {
            Some(exporter) => self.send(exporter, profile, pending),
            None if kept.is_ok() => pending.exported(),
            None => pending.dropped(DropReason::NotWritten),
        }
    }

    fn send(&self, exporter: &Exporter, profile: &Profile, mut pending: Pending) {
        let parts = otlp::parts(profile, &self.resource, self.config.sample.label_style, MAX_PART_BYTES);
        let mut sent = Vec::with_capacity(parts.len());
        for mut part in parts {
            let share = pending.split(part.samples);
            if lose::one("encode") {
                part.samples -= 1;
            }
            sent.push((part, share));
        }
        exporter.send(sent, None);
    }
}

fn page_state(
    config: &RunConfig,
    ledger: &Arc<Ledger>,
    metrics: &Arc<Metrics>,
    history: Arc<History>,
    flow: Arc<Flow>,
    exporter: Option<Arc<Exporter>>,
    page_token: Option<String>,
) -> PageState {
    // A weak reference: the exporter is drained while the page still answers.
    let exporter = exporter.map(|exporter| Arc::downgrade(&exporter));
    let readiness = move || {
        let status = exporter.as_ref().and_then(std::sync::Weak::upgrade).map(|exporter| exporter.status());
        flow.readiness(status.as_ref())
    };
    let title = Title {
        host: host::name(),
        version: env!("CARGO_PKG_VERSION").into(),
        frequency_hz: config.sample.frequency.into(),
        interval_ms: config.interval.as_millis() as u64,
        started_unix_ms: host::unix_ns() / 1_000_000,
        cpus: host::cpus(),
    };
    let access = Access { hosts: config.allowed_hosts.clone(), token: page_token, metrics_open: config.metrics_open };
    let downloads = Downloads {
        pprof: Box::new(|profiles, selection| Ok(output::pprof(&selected(profiles, selection))?)),
        folded: Box::new(|profiles, selection| Ok(output::folded(&selected(profiles, selection)).into_bytes())),
    };
    PageState::new(history, Arc::clone(ledger), Arc::clone(metrics), Box::new(readiness), downloads, title, access)
}

/// The selected samples of many windows as one profile.
fn selected(profiles: &mut dyn Iterator<Item = Profile>, selection: &Selection) -> Profile {
    let profiles: Vec<Profile> = profiles.collect();
    aggregate::merge::merge_selected(&profiles, selection)
}

/// Sets the agent's own figures and notes whether samples flow.
async fn look(ledger: Arc<Ledger>, metrics: Arc<Metrics>, flow: Arc<Flow>) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        flow.note(ledger.snapshot().taken);
        let (resident_bytes, cpu_seconds) = host::own_usage();
        metrics.set(Metric::ResidentBytes, "", resident_bytes);
        metrics.set(Metric::CpuSeconds, "", cpu_seconds);
    }
}

/// What ends the agent.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break tracing::info!("SIGTERM: sending what is left"),
                _ = self.interrupt.recv() => break tracing::info!("SIGINT: sending what is left"),
                _ = self.hang_up.recv() => tracing::warn!("SIGHUP: the configuration is read at start only"),
            }
        }
    }
}
