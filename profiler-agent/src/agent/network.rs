//! The network's thread: it runs the exporter's workers, the page and the signals.

use super::Shared;
use super::orders::Orders;
use crate::confine::{self, Rules};
use crate::engines::Engines;
use crate::export::Exporter;
use crate::host;
use crate::kubernetes::Kubernetes;
use crate::page::{self, PageState};
use crate::telemetry::metrics::Metric;
use anyhow::Context as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// How often the agent looks at itself.
const LOOK: Duration = Duration::from_secs(1);

/// The running thread.
pub(super) struct Network {
    /// Lets it drain until then, and end.
    stop: oneshot::Sender<Instant>,
    thread: JoinHandle<anyhow::Result<()>>,
    looks: Arc<AtomicU64>,
}

/// What runs on it.
pub(super) struct Served {
    pub(super) listener: Option<TcpListener>,
    pub(super) page: PageState,
    pub(super) exporter: Option<Arc<Exporter>>,
    pub(super) kubernetes: Kubernetes,
    pub(super) engines: Engines,
    pub(super) orders: Orders,
}

impl Network {
    pub(super) fn start(runtime: Runtime, rules: Rules, served: Served, shared: &Shared) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (shared, looks) = (shared.clone(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&looks);
        let body = move || {
            confine::network_thread(&rules);
            runtime.block_on(serve(served, shared, counted, stopped))
        };
        let thread = std::thread::Builder::new().name("network".into()).spawn(body);
        Ok(Self { stop, thread: thread.context("cannot start the network's thread")?, looks })
    }

    /// How often it has looked at the agent: grows every second.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Sends what is left until `deadline` at the latest, and ends.
    pub(super) fn finish(self, deadline: Instant) -> anyhow::Result<()> {
        // Where the thread has failed, joining says so.
        let _ = self.stop.send(deadline);
        self.thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the network's thread panicked")))
    }
}

async fn serve(
    served: Served,
    shared: Shared,
    looks: Arc<AtomicU64>,
    stopped: oneshot::Receiver<Instant>,
) -> anyhow::Result<()> {
    let Served { listener, page, exporter, kubernetes, engines, orders } = served;
    let (stop_page, page_stopped) = oneshot::channel::<()>();
    let page = listener
        .map(|listener| tokio::spawn(page::serve(listener, Arc::new(page), async { drop(page_stopped.await) })));
    let watching = tokio::spawn(kubernetes.watch(Arc::clone(&shared.metrics), orders.pods()));
    let following = tokio::spawn(engines.follow(Arc::clone(&shared.metrics)));
    let signals = tokio::spawn(orders.tell());
    let looking = tokio::spawn(look(shared, looks));
    let deadline = stopped.await.unwrap_or_else(|_| Instant::now());
    looking.abort();
    watching.abort();
    following.abort();
    signals.abort();
    drop(stop_page);
    if let Some(page) = page {
        page.await.context("the page's task failed")?.context("the page failed")?;
    }
    // Sampling has ended: nobody else has it any more.
    if let Some(exporter) = exporter.and_then(Arc::into_inner) {
        exporter.drain(deadline).await;
    }
    Ok(())
}

/// Sets the agent's own figures and notes whether samples flow.
async fn look(shared: Shared, looks: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        looks.fetch_add(1, Ordering::Relaxed);
        shared.flow.note(shared.ledger.snapshot().taken);
        let (resident_bytes, cpu_seconds) = host::own_usage();
        shared.metrics.set(Metric::ResidentBytes, "", resident_bytes);
        shared.metrics.set(Metric::CpuSeconds, "", cpu_seconds);
    }
}
