//! Every sample that is taken ends somewhere, and the ledger says where: at every scrape and at the end.

use profiler_tests::agent::{Agent, Metrics, binary};
use profiler_tests::ledger::Shipping;
use profiler_tests::stub::{Answer, Arrival, Protocol, Stub};
use profiler_tests::workload::{Running, compile_c};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const EXPORTED: &str = "profiler_samples_exported_total";
const PENDING: &str = "profiler_samples_pending";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn accept(_: &Arrival) -> Answer {
    Answer::Accept
}

/// Burning processes, as long as the value lives.
fn burners(count: usize) -> (TempDir, Vec<Running>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = compile_c(folder.path(), "burn.c", &[]);
    let running = (0..count).map(|_| Running::start(&program, &[])).collect();
    (folder, running)
}

#[test]
fn balances_at_every_scrape_of_the_whole_host() {
    let _burning = burners(2);
    let stub = Stub::start(Protocol::Grpc, accept);
    let agent = Agent::run(&["--endpoint", &stub.endpoint(), "--interval", "1s", "--frequency", "997"]);
    let (metrics, scrapes) = agent.balances_for(seconds(15));
    assert!(scrapes >= 100, "{scrapes} scrapes");
    // Two burning processes keep at least one CPU busy.
    assert!(metrics.taken() > 15.0 * 997.0 * 0.8, "{} samples", metrics.taken());
    agent.balances_until("windows are exported", PATIENCE, |metrics| metrics.get(EXPORTED) > 0.0);
    let last = agent.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    assert_eq!(stub.samples(), last.exported);
    assert_eq!(stub.samples_with_duplicates(), last.exported, "nothing is sent twice without need");
    assert!(stub.arrivals().iter().all(|arrival| arrival.ids.len() == 1), "one profile per request");
}

#[test]
fn at_rest_entries_equal_what_was_taken_and_nothing_is_pending() {
    let shipping = Shipping::start(Protocol::Grpc, accept);
    shipping.agent.balances_until("samples", PATIENCE, |metrics| metrics.taken() > 2000.0);
    shipping.freeze();
    // The last window has to close and to be accepted.
    let at_rest = shipping.agent.balances_until("nothing pending", PATIENCE, |metrics| metrics.get(PENDING) == 0.0);
    assert_eq!(at_rest.get("profiler_samples_entered_total"), at_rest.taken());
    assert_eq!(at_rest.get(EXPORTED), at_rest.taken());
    assert_eq!(at_rest.sum("profiler_samples_dropped_total"), 0.0);
    assert_eq!(shipping.stub.samples() as f64, at_rest.taken());
    let (last, _) = shipping.ends_well();
    assert_eq!(last.taken as f64, at_rest.taken(), "a stopped process is not sampled");
}

#[test]
fn an_outage_of_the_server_costs_nothing() {
    let mut shipping = Shipping::start(Protocol::Grpc, accept);
    shipping.agent.balances_until("exports before", PATIENCE, |metrics| metrics.get(EXPORTED) > 0.0);
    shipping.stub.stop();
    let _ = shipping.agent.balances_for(seconds(4));
    let during = shipping.agent.balances_until("a backlog", PATIENCE, |metrics| metrics.get(PENDING) > 2000.0);
    shipping.stub.resume();
    let made_up = |metrics: &Metrics| metrics.get(EXPORTED) > during.taken();
    shipping.agent.balances_until("the outage is made up for", PATIENCE, made_up);
    let (last, _) = shipping.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    assert_eq!(last.lines_with("not reachable"), 1, "{}", last.stderr);
    assert_eq!(last.lines_with("reachable again"), 1, "{}", last.stderr);
}

#[test]
fn an_endpoint_nobody_listens_on_is_said_once_and_waited_for() {
    let stub = Stub::stopped(Protocol::Grpc, accept);
    let mut shipping = Shipping::start_with(stub, Command::new(binary()).arg("run"), "1s");
    let _ = shipping.agent.balances_for(seconds(5));
    let metrics = shipping.agent.balances_until("sampling goes on", PATIENCE, |metrics| metrics.taken() > 2000.0);
    assert_eq!(metrics.get(EXPORTED), 0.0);
    let (status, reason) = shipping.agent.get_any("/readyz");
    assert_eq!(status, 503);
    assert!(reason.contains("no export accepted yet") && reason.contains("refused"), "{reason}");
    shipping.stub.resume();
    let resumed = Instant::now();
    while shipping.agent.get_any("/readyz").0 != 200 {
        assert!(resumed.elapsed() < PATIENCE, "not ready: {}", shipping.agent.get_any("/readyz").1);
        std::thread::sleep(Duration::from_millis(50));
    }
    let (last, _) = shipping.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    assert_eq!(last.lines_with("not reachable"), 1, "{}", last.stderr);
}

#[test]
fn sigterm_in_mid_window_sends_the_part_of_it() {
    let stub = Stub::start(Protocol::Grpc, accept);
    let shipping = Shipping::start_with(stub, Command::new(binary()).arg("run"), "60s");
    let metrics = shipping.agent.balances_until("samples", PATIENCE, |metrics| metrics.taken() > 2000.0);
    assert_eq!((metrics.get(EXPORTED), shipping.stub.requests()), (0.0, 0));
    let (last, stub) = shipping.ends_well();
    assert!(last.exported > 2000, "{}", last.stderr);
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    assert_eq!(stub.samples_with_duplicates(), last.exported);
}

#[test]
fn what_finds_no_room_in_a_tiny_ring_is_counted() {
    let _burning = burners(6);
    let agent = Agent::run(&["--frequency", "997", "--interval", "1s", "--ring-bytes", "4096"]);
    let full = "profiler_samples_dropped_total{reason=\"ring_full\"}";
    agent.balances_until("the ring is full once", PATIENCE, |metrics| metrics.get(full) > 0.0);
    let _ = agent.balances_for(seconds(4));
    agent.balances_until("what found room is exported", PATIENCE, |metrics| metrics.get(EXPORTED) > 0.0);
    assert_eq!((agent.get_any("/healthz").0, agent.get_any("/readyz").0), (200, 200));
    let last = agent.ends_well();
    assert!(last.dropped_for("ring_full") > 0, "{}", last.stderr);
    assert_eq!(last.dropped_for("ring_full"), last.dropped, "{}", last.stderr);
}

#[test]
fn without_an_endpoint_the_hour_in_memory_counts() {
    let _burning = burners(1);
    let agent = Agent::run(&["--frequency", "997", "--interval", "1s"]);
    agent.balances_until("windows in the hour", PATIENCE, |metrics| metrics.get(EXPORTED) > 2000.0);
    let last = agent.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
}

#[test]
fn sighup_and_sigint_lose_nothing() {
    let shipping = Shipping::start(Protocol::Grpc, accept);
    let before = shipping.agent.balances_until("samples", PATIENCE, |metrics| metrics.taken() > 500.0);
    shipping.agent.signal("-HUP");
    let more = before.taken() + 2000.0;
    shipping.agent.balances_until("sampling goes on after SIGHUP", PATIENCE, |metrics| metrics.taken() > more);
    shipping.agent.signal("-INT");
    let (last, _) = shipping.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
}
