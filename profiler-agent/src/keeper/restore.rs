//! The ledger goes on where the agent before this one ended, however it ended.

use super::poll::Poll;
use crate::host::unix_ns;
use crate::spool::{Counts, Recovered, State, StoredPart};
use crate::telemetry::ledger::{Ledger, Snapshot, Spooled};
use crate::telemetry::metrics::{Metric, Metrics};
use std::sync::Arc;

/// What an earlier agent left.
#[derive(Debug)]
pub struct Found {
    /// Parts, oldest first.
    pub parts: Vec<StoredPart>,
    /// Stands for their samples.
    pub spooled: Spooled,
}

/// Lets the ledger go on.
pub(super) fn restore(recovered: Recovered, last: Option<Poll>, ledger: &Arc<Ledger>, metrics: &Metrics) -> Found {
    let Recovered { state, parts, corrupt_records, unfinished, left_alone } = recovered;
    let spooled: u64 = parts.iter().map(|part| part.samples).sum();
    metrics.add(Metric::SpoolErrors, "damaged", corrupt_records);
    metrics.add(Metric::SpoolErrors, "not_readable", left_alone);
    let Some(mut state) = state else {
        // Parts without a ledger: they were taken by somebody.
        let last = Snapshot { taken: spooled, entered: spooled, spooled, ..Snapshot::default() };
        return Found { parts, spooled: ledger.restore(&last, 0, spooled) };
    };
    last.iter().for_each(|poll| poll.add_to(&mut state.counts));
    let found: u64 = parts.iter().filter(|part| part.id.window >= state.next_window).map(|part| part.samples).sum();
    metrics.add(Metric::ExportAmbiguous, "", state.counts.ambiguous + unsure(&state, &parts));
    let gap_s = unix_ns().saturating_sub(state.counts.saved_unix_ns) as f64 / 1e9;
    metrics.set(Metric::GapSeconds, "", state.counts.gap_seconds + gap_s);
    let last = snapshot(&state.counts);
    let killed = last.pending.saturating_sub(found);
    tracing::info!(parts = parts.len(), samples = spooled, killed, gap_s, unfinished, "going on with the spool");
    Found { spooled: ledger.restore(&last, found, spooled), parts }
}

/// Samples of parts that an endpoint may have. What the disk had of the last seconds before the host went down is not
/// known.
fn unsure(state: &State, parts: &[StoredPart]) -> u64 {
    let power_cut = !state.counts.clean && boot_id().is_none_or(|now| now != state.boot_id);
    let is_unsure = |part: &&StoredPart| power_cut || state.counts.in_flight.contains(&part.id);
    parts.iter().filter(is_unsure).map(|part| part.samples).sum()
}

fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn snapshot(counts: &Counts) -> Snapshot {
    Snapshot {
        taken: counts.taken,
        entered: counts.entered,
        exported: counts.exported,
        spooled: counts.spooled,
        pending: counts.pending,
        dropped: counts.dropped.iter().map(|(label, &count)| (label.clone().into(), count)).collect(),
    }
}
