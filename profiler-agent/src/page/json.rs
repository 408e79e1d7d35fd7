//! The shapes the page's script reads. Times are Unix milliseconds, CPU time is nanoseconds; both fit a double.

use super::flame::{NodeKind, Tree};
use super::services::{ProcessTotal, ServiceTotal, Services};
use super::{PageState, Span};
use crate::history::WindowSummary;
use serde_json::{Value, json};

const NS_PER_MS: u64 = 1_000_000;

/// `/api/services`: the agent, all windows kept, and who used the CPU in the span.
pub(super) fn services(state: &PageState, span: Span, now_unix_ns: u64, sum: &Services) -> Value {
    let windows = state.history.windows();
    let ledger = state.ledger.snapshot();
    let title = &state.title;
    json!({
        "host": title.host,
        "version": title.version,
        "frequency_hz": title.frequency_hz,
        "interval_ms": title.interval_ms,
        "cpus": title.cpus,
        "now": now_unix_ns / NS_PER_MS,
        "from": span.from_unix_ns / NS_PER_MS,
        "to": span.to_unix_ns / NS_PER_MS,
        "next_window": next_window_ms(state, windows.last(), now_unix_ns / NS_PER_MS),
        "windows": windows.iter().map(window).collect::<Vec<_>>(),
        "history_bytes": state.history.bytes(),
        "ledger": {
            "taken": ledger.taken, "exported": ledger.exported, "spooled": ledger.spooled,
            "pending": ledger.pending, "dropped": ledger.dropped_total(),
        },
        "samples": sum.samples,
        "cpu_ns": sum.cpu_ns,
        "covered_ns": sum.covered_ns,
        "services": sum.services.iter().map(service).collect::<Vec<_>>(),
    })
}

/// `[start, length, samples, CPU time]`: an hour of one-second windows is 3,600 of them.
fn window(window: &WindowSummary) -> Value {
    json!([window.start_unix_ns / NS_PER_MS, window.duration_ns / NS_PER_MS, window.samples, window.cpu_ns])
}

/// When the window that is open now is going to close.
fn next_window_ms(state: &PageState, last: Option<&WindowSummary>, now_ms: u64) -> u64 {
    let interval_ms = state.title.interval_ms.max(1);
    let opened = last.map_or(state.title.started_unix_ms, |last| (last.start_unix_ns + last.duration_ns) / NS_PER_MS);
    let since = now_ms.saturating_sub(opened);
    now_ms + interval_ms - since % interval_ms
}

fn service(service: &ServiceTotal) -> Value {
    json!({
        "name": service.name,
        "cpu_ns": service.cpu_ns,
        "labels": service.labels,
        "processes": service.processes.iter().map(process).collect::<Vec<_>>(),
        "more_processes": service.more_processes,
    })
}

fn process(process: &ProcessTotal) -> Value {
    let threads: Vec<_> = process
        .threads
        .iter()
        .map(|thread| json!({ "tid": thread.tid, "name": thread.name, "cpu_ns": thread.cpu_ns }))
        .collect();
    json!({
        "pid": process.pid, "name": process.name, "cpu_ns": process.cpu_ns,
        "threads": threads, "more_threads": process.more_threads,
    })
}

/// `/api/flame`: `frames` are `[name, module, kind]`; `nodes`, depth first, are `[depth, frame, self, total]`;
/// `functions`, by self time, are `[frame, self, total]`; `modules` are `[path, kind, self]`.
pub(super) fn flame(tree: &Tree) -> Value {
    let frames = tree.frames.iter().map(|frame| json!([frame.name, frame.module, frame.kind.as_str()]));
    let nodes = tree.nodes.iter().map(|node| json!([node.depth, node.frame, node.self_ns, node.total_ns]));
    let functions = tree.functions.iter().map(|function| json!([function.frame, function.self_ns, function.total_ns]));
    let kind = |kind| NodeKind::Frame(kind).as_str();
    let modules = tree.modules.iter().map(|module| json!([module.module, kind(module.kind), module.self_ns]));
    json!({
        "samples": tree.samples,
        "total_ns": tree.total_ns(),
        "frames": frames.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
        "functions": functions.collect::<Vec<_>>(),
        "modules": modules.collect::<Vec<_>>(),
    })
}
