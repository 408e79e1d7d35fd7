//! What the user wants: flags over environment over file over defaults.
//!
//! Input: [`Layer`]s of raw text, each item with where it came from. Output: plain values, checked, or every mistake at
//! once. Invariant: a setting is declared once, in `setting`: its flag, its environment variable, its key in the file,
//! its help and its check all come from there.
//!
//! A flag whose value has the wrong shape (no number, no duration, none of the choices) is wrong usage, found by clap.
//! A well-formed value that cannot be (an interval of 10 ms), and contradictions, are bad configuration, whatever
//! layer they come from; so is anything wrong in the environment or the file.

mod build;
mod environment;
#[cfg(test)]
mod example;
mod file;
mod layer;
mod nearest;
mod rules;
mod setting;
mod show;
mod table;
mod value;

pub use build::{FREQUENCY_ALONE, Settings, record, run};
pub use file::{check_file, check_text};
pub use layer::{Environment, Item, Layer, Mistake, Mistakes, Origin, process_environment};
pub use setting::{Arity, Command, Heading, SETTINGS, Setting};
pub use show::show;
pub use table::{Field, Shape, TABLES, Table, TableKey, TableKind};
pub(crate) use value::name_source_word;

use crate::bpf::Clock;
use crate::canary::CanaryConfig;
use crate::export::{Endpoint, ExportConfig};
use crate::governor::Budgets;
use crate::kubernetes::{KubernetesConfig, PodLabels};
use crate::otlp::LabelStyle;
use crate::process::NameSource;
use crate::relabel::{Pattern, Rules};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What `run` and `record` share.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleConfig {
    /// Samples per second and CPU.
    pub frequency: u32,
    /// What drives sampling.
    pub event: Clock,
    /// Processes to sample; empty for all.
    pub pids: Vec<u32>,
    /// The cgroup whose subtree is sampled.
    pub cgroup: Option<PathBuf>,
    /// Take kernel stacks.
    pub kernel_stacks: bool,
    /// Where service names come from.
    pub service_name_from: Vec<NameSource>,
    /// Labels for every series.
    pub labels: Vec<(String, String)>,
    /// How label names are written.
    pub label_style: LabelStyle,
    /// Labels of processes in pods.
    pub pod_labels: PodLabels,
    /// Bytes of unwind tables at most.
    pub unwind_max_bytes: u64,
    /// Size of the ring buffer; a test seam.
    pub ring_bytes: Option<u64>,
    /// How much is logged, and how.
    pub log: LogConfig,
}

/// How much is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important level that is shown.
    pub level: tracing::Level,
    /// One JSON object per line instead of text.
    pub json: bool,
}

/// `run`.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Sampling.
    pub sample: SampleConfig,
    /// Where profiles go; without endpoints, to the page alone.
    pub export: ExportConfig,
    /// Where windows wait on disk; none for memory alone.
    pub spool: Option<SpoolConfig>,
    /// What becomes of labels, and which services leave the host.
    pub relabel: Rules,
    /// Series on the server at most, and one more.
    pub max_series: usize,
    /// Services that are sampled at a frequency of their own; the first that fits counts.
    pub service_frequencies: Vec<ServiceFrequency>,
    /// Whether and how to ask for pods.
    pub kubernetes: KubernetesConfig,
    /// Sockets of container engines that are asked for names.
    pub container_sockets: Vec<PathBuf>,
    /// Whether and where to ask for what was sent.
    pub canary: Option<CanaryConfig>,
    /// Length of a window.
    pub interval: Duration,
    /// What the agent may use.
    pub budgets: Budgets,
    /// Servers that are asked for debug info.
    pub debuginfod: Vec<Endpoint>,
    /// Where the page listens; none for no page.
    pub listen: Option<SocketAddr>,
    /// Token for the page off loopback.
    pub page_token_file: Option<PathBuf>,
    /// Whether `/metrics` is open off loopback.
    pub metrics_open: bool,
    /// Host names under which the page may be asked for, besides loopback's.
    pub allowed_hosts: Vec<String>,
}

impl RunConfig {
    /// Whether sampling has to begin anew for the other.
    #[must_use]
    pub fn sampling_differs(&self, other: &Self) -> bool {
        let of = |config: &Self| {
            // Labels are put on when windows are sent, the log is set up at the start, and the frequency changes in
            // place.
            let sample = SampleConfig {
                labels: Vec::new(),
                label_style: LabelStyle::default(),
                frequency: self.sample.frequency,
                log: self.sample.log,
                ..config.sample.clone()
            };
            (sample, config.interval, config.service_frequencies.clone())
        };
        of(self) != of(other)
    }
}

/// Where windows wait on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folder; made where there is none.
    pub folder: PathBuf,
    /// Bytes of windows at most.
    pub max_bytes: u64,
}

/// How often services of some names are sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFrequency {
    /// Fits the whole of `service.name`.
    pub name: Pattern,
    /// Samples per second and CPU.
    pub hz: u32,
}

impl ServiceFrequency {
    /// Hz for a service; none when this says nothing of it.
    #[must_use]
    pub fn of(&self, service: &str) -> Option<u32> {
        self.name.matches(service).then_some(self.hz)
    }
}

/// `record`.
#[derive(Clone, Debug)]
pub struct RecordConfig {
    /// Sampling.
    pub sample: SampleConfig,
    /// How long; none until the command ends, or ten seconds without one.
    pub duration: Option<Duration>,
    /// The output file; its extension is its format.
    pub output: Option<PathBuf>,
    /// A command to start and to record.
    pub command: Vec<std::ffi::OsString>,
}
