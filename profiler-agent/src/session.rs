//! One span of sampling: the reader, the pipeline and the symbolizer, each on its own thread, joined by bounded
//! channels.

use crate::aggregate::Window;
use crate::bpf::reader::Reader;
use crate::bpf::{self, Reported};
use crate::confine;
use crate::governor::{Frequencies, Level, Levers, Pressure, ServiceRates};
use crate::kubernetes::PodNames;
use crate::pipeline::Pipeline;
use crate::process::{Executables, Naming, ProcessTable};
use crate::profile::Profile;
use crate::symbolize::{Debuginfod, Names, symbolize};
use crate::telemetry::ledger::{Ledger, Pending};
use crate::telemetry::metrics::{Metric, Metrics};
use crate::unwind::{Unwinder, UnwinderOptions};
use anyhow::Context as _;
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Batches between the reader and the pipeline: six seconds of polls.
const BATCHES: usize = 64;
/// Windows between the pipeline and the symbolizer.
const WINDOWS: usize = 1;

/// Share of a window's length in which debug info may be read.
const DEBUG_INFO_SHARE: u32 = 20;
/// The same for a single window, which nobody waits behind.
const DEBUG_INFO_TIME: Duration = Duration::from_secs(60);

/// What to sample and how.
#[derive(Debug)]
pub struct SessionOptions {
    /// The kernel side.
    pub sampling: bpf::Options,
    /// Length of a window; none for a single one.
    pub interval: Option<Duration>,
    /// How processes get their names.
    pub naming: Naming,
    /// How they are called for the pods that they are in.
    pub pods: PodNames,
    /// Asked for debug info.
    pub debuginfod: Option<Arc<Debuginfod>>,
    /// The kernel's symbols, opened before the agent gave up the right to see their addresses.
    pub kallsyms: Option<Arc<File>>,
    /// What caches may have.
    pub pressure: Pressure,
    /// How often services are sampled that have a frequency of their own.
    pub frequencies: Frequencies,
}

/// Sampling that runs.
pub struct Session {
    reader: Reader,
    threads: Vec<JoinHandle<()>>,
    controls: Controls,
}

/// What can be changed, and what is measured, while sampling runs.
#[derive(Clone)]
pub struct Controls {
    rates: Arc<bpf::Rates>,
    rules: Arc<bpf::CgroupRules>,
    counters: Arc<bpf::Counters>,
    metrics: Arc<Metrics>,
    map_bytes: u64,
}

impl Controls {
    /// Another configured frequency, in samples per second and CPU; the timers follow within a second. What governs
    /// has to [begin anew](crate::governor::Governing::begin_anew).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_frequency(&self, hz: u32) -> std::io::Result<()> {
        self.rates.report(Reported::All)?;
        self.rates.set_base_hz(hz)
    }

    /// Samples per second and CPU as configured, and as they are now.
    #[must_use]
    pub fn frequency(&self) -> (u32, u32) {
        (self.rates.base_hz(), self.rates.hz())
    }

    /// What is said of cgroups.
    #[must_use]
    pub fn rules(&self) -> &bpf::CgroupRules {
        &self.rules
    }

    /// Nanoseconds that the kernel programs took so far, by their own clock.
    #[must_use]
    pub fn programs_ns(&self) -> u64 {
        self.counters.run_ns()
    }

    /// Bytes of BPF maps and rings.
    #[must_use]
    pub fn map_bytes(&self) -> u64 {
        self.map_bytes + self.metrics.get(Metric::UnwindBytes, "") as u64
    }
}

impl Levers for Controls {
    fn set(&self, level: Level) -> std::io::Result<()> {
        self.rates.report(level.events)?;
        self.rates.set_hz(level.hz)
    }
}

impl Session {
    /// Loads, attaches and starts. `first` may say which cgroups are sampled before any is. `sink` gets every window with
    /// its names, on the symbolizer's thread, and decides where its samples end.
    pub fn start(
        options: SessionOptions,
        ledger: &Arc<Ledger>,
        metrics: &Arc<Metrics>,
        first: impl FnOnce(&bpf::CgroupRules),
        sink: impl FnMut(Profile, Pending) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut options = options;
        options.sampling.service_hz = options.frequencies.distinct().to_vec();
        let mut loaded = bpf::load(&options.sampling, first)?;
        let memory = loaded.tables.take().context("the kernel programs come without tables")?;
        let maker = memory.maker();
        ledger.set_kernel(Box::new(Arc::clone(&loaded.counters)));
        let (batch_sink, batches) = sync_channel(BATCHES);
        let (window_sink, windows) = sync_channel(WINDOWS);
        let pipeline = Pipeline {
            unwinder: Unwinder::start(UnwinderOptions {
                memory,
                prepare: Arc::new(move |chunks| maker.prepare(chunks)),
                max_bytes: options.sampling.unwind_max_bytes,
                pressure: options.pressure.clone(),
                metrics: Arc::clone(metrics),
            })
            .context("cannot start the thread that builds unwind tables")?,
            waiting: Vec::new(),
            processes: ProcessTable::new(Executables::new(Arc::clone(metrics)), options.naming),
            windows: window_sink,
            interval: options.interval,
            period_ns: bpf::period_ns(options.sampling.hz),
            services: ServiceRates::new(options.frequencies, options.pods.clone(), Arc::clone(&loaded.rates)),
            pods: options.pods.clone(),
            metrics: Arc::clone(metrics),
        };
        let controls = Controls {
            rates: Arc::clone(&loaded.rates),
            rules: Arc::clone(&loaded.rules),
            counters: Arc::clone(&loaded.counters),
            metrics: Arc::clone(metrics),
            map_bytes: loaded.map_bytes,
        };
        let reader = Reader::start(loaded, Arc::clone(ledger), Arc::clone(metrics), batch_sink)
            .context("cannot start the reader's thread")?;
        let debug_info_time = options.interval.map_or(DEBUG_INFO_TIME, |interval| interval / DEBUG_INFO_SHARE);
        let metrics = Arc::clone(metrics);
        let threads = vec![
            spawn("pipeline", move || pipeline.run(&batches))?,
            spawn("symbolizer", move || {
                let names = Names::new(metrics, debug_info_time).with_debuginfod(options.debuginfod);
                let names = names.with_kallsyms(options.kallsyms).under(options.pressure);
                name_windows(&windows, names, &options.pods, sink);
            })?,
        ];
        Ok(Self { reader, threads, controls })
    }

    /// What can be changed while it runs.
    #[must_use]
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Whether all stages go on.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.reader.is_alive() && !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends sampling; every sample taken has gone to the sink when this returns.
    pub fn finish(self) {
        self.reader.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a stage panicked");
            }
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let confined = move || {
        confine::reader_thread();
        body();
    };
    std::thread::Builder::new().name(name.into()).spawn(confined).with_context(|| format!("cannot start thread {name}"))
}

fn name_windows(windows: &Receiver<Window>, mut names: Names, pods: &PodNames, mut sink: impl FnMut(Profile, Pending)) {
    while let Ok(mut window) = windows.recv() {
        let profile = symbolize(&window, &mut names, pods);
        if let Some(mut pending) = window.pending.take() {
            pending.recount(profile.sample_count());
            sink(profile, pending);
        }
        // A window with its names is the largest thing that comes and goes.
        drop(window);
        bpf::trim_heap();
    }
}
