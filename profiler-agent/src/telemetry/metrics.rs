//! Metrics in the Prometheus text format. Names, types and help texts come from one enum; reasons are labels.
//!
//! Counters that alerts watch begin with 0: an increase from nothing is none for Prometheus.

use super::ledger::Snapshot;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

macro_rules! metrics {
    ($($variant:ident = $name:literal $kind:literal $label:literal $([$($value:literal)+])?, $help:literal;)+) => {
        /// Everything that is counted or measured outside the ledger.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric { $(#[doc = $help] $variant,)+ }

        impl Metric {
            /// All metrics.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name, type, label key (empty without one) and help text.
            #[must_use]
            pub fn describe(self) -> (&'static str, &'static str, &'static str, &'static str) {
                match self { $(Self::$variant => ($name, $kind, $label, $help),)+ }
            }

            /// Values of the label that are there from the start.
            fn known(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($($value,)+)?],)+ }
            }
        }
    };
}

metrics! {
    StacksIncomplete = "profiler_stacks_incomplete_total" "counter" "reason", "Samples whose user stack stopped before its root.";
    FramesUnresolved = "profiler_frames_unresolved_total" "counter" "reason", "Frames named module+offset, by why there was no name.";
    EventsLost = "profiler_process_events_lost_total" "counter" "source", "Process and mapping events lost; healed by reading /proc again.";
    FilesRefused = "profiler_files_refused_total" "counter" "reason", "Executable files that could not be used for symbols.";
    DebugInfoRefused = "profiler_debug_info_refused_total" "counter" "reason", "Files and units of debug info that could not be used.";
    DebugInfoPostponed = "profiler_debug_info_postponed_total" "counter" "", "Addresses named without debug info because the window's time for it was over.";
    ExportRequests = "profiler_export_requests_total" "counter" "outcome" ["accepted" "rejected" "retry" "too_large" "refused" "ambiguous" "unreachable"], "Export requests by outcome.";
    ExportAmbiguous = "profiler_export_ambiguous_total" "counter" "" [""], "Samples in requests without a known end: the server may hold them though they are sent again or dropped.";
    SpoolBytes = "profiler_spool_bytes" "gauge" "", "Window files in the spool.";
    SpoolLimit = "profiler_spool_limit_bytes" "gauge" "", "What they may take at most.";
    SpoolErrors = "profiler_spool_errors_total" "counter" "operation" ["open" "append" "read" "save" "damaged" "not_readable"], "What the spool could not do, and records and files that it found damaged or not readable.";
    GapSeconds = "profiler_gap_seconds_total" "counter" "" [""], "Time without a running agent, over the life of the spool.";
    CanaryChecks = "profiler_canary_checks_total" "counter" "outcome" ["equal" "less" "more" "unreadable"], "Exported windows asked for at the server, by what it has of them.";
    DebuginfodRequests = "profiler_debuginfod_requests_total" "counter" "outcome", "Build IDs asked for at debuginfod servers, by outcome.";
    BpfRunSeconds = "profiler_bpf_run_seconds_total" "counter" "", "Time the kernel programs took, by their own clock.";
    MapUsed = "profiler_map_used_ratio" "gauge" "map", "Share of a BPF map in use.";
    MapBytes = "profiler_map_bytes" "gauge" "", "Memory of the BPF maps and rings.";
    Frequency = "profiler_frequency_hertz" "gauge" "", "Samples per second and CPU now.";
    FrequencyConfigured = "profiler_frequency_configured_hertz" "gauge" "", "Samples per second and CPU as configured.";
    GovernorChanges = "profiler_governor_changes_total" "counter" "reason", "Changes that the budgets asked for, and those that they gave room for.";
    CpuBudget = "profiler_cpu_budget_ratio" "gauge" "", "Share of all online CPUs' time that the agent and its kernel programs may use.";
    CpuUsed = "profiler_cpu_used_ratio" "gauge" "", "Share of all online CPUs' time that they used in the last seconds.";
    MemoryBudget = "profiler_memory_budget_bytes" "gauge" "", "Memory that the agent and the BPF maps may use.";
    MemoryUsed = "profiler_memory_used_bytes" "gauge" "", "Memory that they use.";
    UnwindRefused = "profiler_unwind_tables_refused_total" "counter" "reason", "Executable files without an unwind table, by reason; their frames are walked by frame pointer.";
    UnwindEvicted = "profiler_unwind_tables_evicted_total" "counter" "", "Unwind tables that made room for others; they are built again when needed.";
    StacksCopied = "profiler_stacks_copied_total" "counter" "outcome", "Stacks copied to the agent because their process had no unwind tables yet.";
    UnwindRows = "profiler_unwind_rows" "gauge" "", "Unwind rows loaded.";
    UnwindBytes = "profiler_unwind_bytes" "gauge" "", "Memory of the unwind rows.";
    HistoryBytes = "profiler_history_bytes" "gauge" "", "Memory of the last hour kept for the page.";
    ConfigReloads = "profiler_config_reloads_total" "counter" "outcome" ["accepted" "refused"], "Configurations read again on SIGHUP.";
    KubernetesPods = "profiler_kubernetes_pods" "gauge" "", "Pods of this node that the API server has told of and that are not gone.";
    KubernetesExcluded = "profiler_kubernetes_pods_excluded" "gauge" "", "Pods of this node that are not sampled because an annotation, or the lack of one, says so.";
    KubernetesErrors = "profiler_kubernetes_errors_total" "counter" "reason", "Answers of the API server, and ways to it, that told nothing of pods or namespaces.";
    ContainersNamed = "profiler_containers_named" "gauge" "", "Containers that an engine has described, those that ended in the last minutes among them.";
    ContainerEngineErrors = "profiler_container_engine_errors_total" "counter" "reason", "Questions for names of containers that an engine did not answer.";
    Series = "profiler_series" "gauge" "", "Series that this agent sent something for in the last hour.";
    SeriesFolded = "profiler_series_folded_samples_total" "counter" "", "Samples that went into a series called other because there are as many as there may be.";
    BuildInfo = "profiler_build_info" "gauge" "version", "Always 1; the label is the version.";
    ResidentBytes = "process_resident_memory_bytes" "gauge" "", "Resident memory of the agent.";
    CpuSeconds = "process_cpu_seconds_total" "counter" "", "CPU time of the agent.";
}

/// The values.
#[derive(Debug, Default)]
pub struct Metrics {
    values: Mutex<BTreeMap<(Metric, &'static str), f64>>,
}

impl Metrics {
    /// Adds to a counter. `label` is the value of the metric's label, empty without one.
    pub fn add(&self, metric: Metric, label: &'static str, count: u64) {
        if count > 0 {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            *values.entry((metric, label)).or_default() += count as f64;
        }
    }

    /// Sets a value.
    pub fn set(&self, metric: Metric, label: &'static str, value: f64) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert((metric, label), value);
    }

    /// A value, 0 when never set.
    #[must_use]
    pub fn get(&self, metric: Metric, label: &'static str) -> f64 {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).get(&(metric, label)).copied().unwrap_or(0.0)
    }

    /// The ledger and all values in the Prometheus text format.
    #[must_use]
    pub fn render(&self, ledger: &Snapshot) -> String {
        let mut text = String::with_capacity(4096);
        render_ledger(&mut text, ledger);
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for &metric in Metric::ALL {
            let (name, kind, label, help) = metric.describe();
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            let set = values.range((metric, "")..).take_while(|((found, _), _)| *found == metric);
            let mut shown: BTreeMap<&str, f64> = metric.known().iter().map(|label| (*label, 0.0)).collect();
            shown.extend(set.map(|((_, label), value)| (*label, *value)));
            for (value_label, value) in shown {
                let _ = match label {
                    "" => writeln!(text, "{name} {value}"),
                    _ => writeln!(text, "{name}{{{label}=\"{value_label}\"}} {value}"),
                };
            }
        }
        text
    }
}

fn render_ledger(text: &mut String, ledger: &Snapshot) {
    let terms = [
        ("profiler_samples_taken_total", "counter", "Samples taken by the kernel program.", ledger.taken),
        (
            "profiler_samples_entered_total",
            "counter",
            "Firings counted at entry; equals taken at rest.",
            ledger.entered,
        ),
        ("profiler_samples_exported_total", "counter", "Samples at their destination.", ledger.exported),
        ("profiler_samples_spooled", "gauge", "Samples on disk.", ledger.spooled),
        ("profiler_samples_pending", "gauge", "Samples on their way.", ledger.pending),
    ];
    for (name, kind, help, value) in terms {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    let name = "profiler_samples_dropped_total";
    let _ = writeln!(text, "# HELP {name} Samples lost, by reason.\n# TYPE {name} counter");
    for (reason, count) in &ledger.dropped {
        let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_labels_and_terms() {
        let metrics = Metrics::default();
        metrics.add(Metric::ExportRequests, "accepted", 3);
        metrics.set(Metric::MapUsed, "ring", 0.5);
        let ledger = Snapshot {
            taken: 3,
            entered: 3,
            exported: 1,
            spooled: 0,
            pending: 0,
            dropped: vec![("ring_full".into(), 2)],
        };
        let text = metrics.render(&ledger);
        assert!(text.contains("\nprofiler_export_requests_total{outcome=\"accepted\"} 3\n"));
        assert!(text.contains("\nprofiler_export_requests_total{outcome=\"refused\"} 0\n"));
        assert!(text.contains("\nprofiler_export_ambiguous_total 0\n"));
        assert!(!text.contains("\nprofiler_cpu_budget_ratio "));
        assert!(text.contains("\nprofiler_map_used_ratio{map=\"ring\"} 0.5\n"));
        assert!(text.contains("\nprofiler_samples_dropped_total{reason=\"ring_full\"} 2\n"));
    }
}
