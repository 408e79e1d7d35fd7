//! The processes that may be sampled, where not all may.

use super::counters::Counters;
use super::load::LoadError;
use crate::telemetry::metrics::{Metric, Metrics};
use aya::maps::{HashMap, MapData};
use profiler_common::limits::MAX_FILTER_PIDS;

/// The map of process ids.
pub(super) struct Filter {
    pids: HashMap<MapData, u32, u32>,
    said_full: bool,
}

impl Filter {
    pub(super) fn new(mut pids: HashMap<MapData, u32, u32>, wanted: &[u32]) -> Result<Self, LoadError> {
        for pid in wanted {
            pids.insert(pid, 1, 0).map_err(|source| LoadError::Map { name: "FILTER", source })?;
        }
        Ok(Self { pids, said_full: false })
    }

    /// Says how full it is, and once, when it was too small.
    pub(super) fn report(&mut self, counters: &Counters, metrics: &Metrics) {
        let used = self.pids.keys().filter_map(Result::ok).take(MAX_FILTER_PIDS as usize).count();
        metrics.set(Metric::MapUsed, "filter", used as f64 / f64::from(MAX_FILTER_PIDS));
        let refused = counters.filter_full();
        if refused > 0 && !std::mem::replace(&mut self.said_full, true) {
            tracing::error!(
                map = "FILTER",
                refused,
                "more than {MAX_FILTER_PIDS} processes at a time: the others are not sampled; choose them by --cgroup"
            );
        }
    }
}
