//! `run`: continuous profiling until SIGTERM or SIGINT; then what is left is sent or stays in the spool, and the ledger
//! is logged.
//!
//! Three kinds of threads: the main thread, which starts sampling, reloads and ends it; those of the session, which read
//! other processes; and the network's, which runs the exporter, the page and the signals. They are confined in different
//! ways, and what a thread may do its children may: hence sessions are started by the main thread alone.

mod destination;
mod governed;
mod network;
mod orders;
mod page_state;
mod supervisor;

use crate::bpf;
use crate::canary::Canary;
use crate::config::{Mistakes, RunConfig};
use crate::confine::{self, Verb};
use crate::doctor;
use crate::engines::{self, Engines};
use crate::exit::Failure;
use crate::export::Exporter;
use crate::governor::{Frequencies, Pressure};
use crate::history::History;
use crate::keeper::{Found, Keeper};
use crate::kubernetes::{Enforcement, Kubernetes, PodNames, Store};
use crate::process::Naming;
use crate::session::{Session, SessionOptions};
use crate::symbolize::{Debuginfod, DebuginfodOptions};
use crate::telemetry::ledger::Ledger;
use crate::telemetry::metrics::{Metric, Metrics};
use crate::telemetry::readiness::Flow;
use anyhow::Context as _;
use destination::{Destination, Shape};
use governed::Governed;
use network::{Network, Served};
use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use supervisor::Supervisor;
use tokio::net::TcpListener;

/// Reads the configuration again.
pub type Reread<'a> = &'a dyn Fn() -> Result<RunConfig, Mistakes>;

/// Profiles until told to stop.
///
/// # Errors
/// Exit code 77 for what this host or its privileges lack; 1 for an address, a token or a spool that cannot be used.
pub fn run(config: RunConfig, reread: Reread<'_>) -> Result<(), Failure> {
    doctor::require()?;
    let privileges = confine::privileges(Verb::Run).context("cannot give up privileges").map_err(Failure::from)?;
    privileges.report();
    start(config, privileges.kallsyms, reread).map_err(Failure::from)
}

/// What all parts of the agent share.
#[derive(Clone)]
struct Shared {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    history: Arc<History>,
    flow: Arc<Flow>,
    kallsyms: Option<Arc<File>>,
    debuginfod: Option<Arc<Debuginfod>>,
    pressure: Pressure,
    pods: Arc<Store>,
    engines: Arc<engines::Store>,
}

fn start(config: RunConfig, kallsyms: Option<File>, reread: Reread<'_>) -> anyhow::Result<()> {
    let started = Instant::now();
    let (metrics, pressure) = (Arc::<Metrics>::default(), Pressure::default());
    let kubernetes = Kubernetes::new(&config.kubernetes);
    let engines = Engines::new(&config.container_sockets);
    let shared = Shared {
        ledger: Arc::default(),
        history: Arc::new(History::default().under(pressure.clone())),
        flow: Arc::new(Flow::new(config.interval)),
        kallsyms: kallsyms.map(Arc::new),
        debuginfod: debuginfod(&config, &metrics)?,
        metrics,
        pressure,
        pods: kubernetes.store(),
        engines: engines.store(),
    };
    shared.metrics.set(Metric::BuildInfo, env!("CARGO_PKG_VERSION"), 1.0);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let entered = runtime.enter();
    let listener = runtime.block_on(listen(&config))?;
    let token = config.page_token_file.as_deref().map(page_state::token).transpose()?;
    let (keeper, found) = keeper(&config, &shared)?.unzip();
    let exporter = exporter(&config, &shared, keeper.as_ref(), found)?;
    let (orders, ordered) = orders::channel().context("cannot handle signals")?;
    let canary = canary(&config, &shared)?;
    let destination = Arc::new(Destination {
        history: Arc::clone(&shared.history),
        exporter: exporter.clone(),
        canary: canary.clone(),
        shape: Mutex::new(Shape::new(&config, &shared.metrics)),
    });
    let mut enforcement = kubernetes.enforcement(&config.kubernetes, &shared.metrics);
    let session = session(&config, &shared, &destination, &mut enforcement)?;
    tracing::info!(frequency_hz = config.sample.frequency, "sampling every CPU");
    let gap_s = shared.metrics.get(Metric::GapSeconds, "");
    if gap_s > 0.0 {
        // Since an earlier agent ended; what it takes to start belongs to that.
        shared.metrics.set(Metric::GapSeconds, "", gap_s + started.elapsed().as_secs_f64());
    }
    let page = page_state::page_state(&config, &shared, exporter.as_ref(), canary, token);
    drop(entered);
    let mut rules = confine::Rules::of(&config);
    rules.connect_ports.extend(kubernetes.ports());
    let served = Served { listener, page, exporter, kubernetes, engines, orders };
    let network = Network::start(runtime, rules, served, &shared)?;
    confine::supervisor_thread();
    let governed = Governed::new(&config, &shared, session.controls());
    Supervisor { enforcement, governed, config, shared, destination, session: Some(session), network, keeper }
        .supervise(&ordered, reread)
}

async fn listen(config: &RunConfig) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another address with --listen, or --listen off")
    })?;
    tracing::info!("the page is at http://{}/", listener.local_addr().unwrap_or(address));
    Ok(Some(listener))
}

fn keeper(config: &RunConfig, shared: &Shared) -> anyhow::Result<Option<(Keeper, Found)>> {
    let Some(spool) = &config.spool else { return Ok(None) };
    match Keeper::start(&spool.folder, spool.max_bytes, &shared.ledger, &shared.metrics) {
        Ok(started) => Ok(Some(started)),
        // Better without a spool than not at all.
        Err(error) if error.is_of_the_disk() => {
            tracing::error!(%error, "spool cannot be used; windows stay in memory");
            shared.metrics.add(Metric::SpoolErrors, "open", 1);
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot use the spool in {}", spool.folder.display())),
    }
}

fn exporter(
    config: &RunConfig,
    shared: &Shared,
    keeper: Option<&Keeper>,
    found: Option<Found>,
) -> anyhow::Result<Option<Arc<Exporter>>> {
    if config.export.endpoints.is_empty() {
        return Ok(None);
    }
    let spool = keeper.map(Keeper::spool);
    let exporter = Exporter::start(&config.export, Arc::clone(&shared.metrics), spool)?;
    found.into_iter().for_each(|found| exporter.replay(found));
    Ok(Some(Arc::new(exporter)))
}

fn canary(config: &RunConfig, shared: &Shared) -> anyhow::Result<Option<Canary>> {
    let start = |canary| Canary::start(canary, config.interval, Arc::clone(&shared.metrics));
    config.canary.as_ref().map(start).transpose()
}

/// Starts sampling as configured.
fn session(
    config: &RunConfig,
    shared: &Shared,
    destination: &Arc<Destination>,
    enforcement: &mut Enforcement,
) -> anyhow::Result<Session> {
    let destination = Arc::clone(destination);
    let options = SessionOptions {
        sampling: bpf::Options::new(&config.sample),
        interval: Some(config.interval),
        naming: Naming::new(config.sample.service_name_from.clone()),
        pods: PodNames::new(
            Arc::clone(&shared.pods),
            config.sample.service_name_from.clone(),
            config.sample.pod_labels.clone(),
        )
        .with_engines(Arc::clone(&shared.engines)),
        debuginfod: shared.debuginfod.clone(),
        kallsyms: shared.kallsyms.clone(),
        pressure: shared.pressure.clone(),
        frequencies: Frequencies::new(config.service_frequencies.clone()),
    };
    let first = |rules: &bpf::CgroupRules| enforcement.look(rules);
    let sink = move |profile, pending| destination.take(profile, pending);
    Session::start(options, &shared.ledger, &shared.metrics, first, sink)
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
