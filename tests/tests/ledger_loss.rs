//! The ledger is no tautology: a build that loses one record in one stage is caught, whichever the stage.

use profiler_tests::agent::{Agent, Metrics, losing_binary};
use profiler_tests::ledger::Shipping;
use profiler_tests::stub::{Answer, Protocol, Stub};
use std::process::Command;
use std::time::Duration;

const STAGES: [&str; 6] = ["reader", "process", "aggregate", "symbolize", "encode", "export"];

/// Scrapes that need not balance.
fn scrape_until(agent: &Agent, what: &str, come_true: impl Fn(&Metrics) -> bool) -> Metrics {
    for _ in 0..600 {
        let metrics = agent.metrics();
        if come_true(&metrics) {
            return metrics;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("not within a minute: {what}: {:#?}", agent.metrics().0);
}

/// Runs the losing build; what the last scrape and the last ledger lack.
fn run(stage: Option<&str>) -> (f64, i128) {
    let stub = Stub::start(Protocol::Grpc, |_| Answer::Accept);
    let mut command = Command::new(losing_binary());
    command.arg("run").env_remove("PROFILER_LOSE");
    if let Some(stage) = stage {
        command.env("PROFILER_LOSE", stage);
    }
    let shipping = Shipping::start_with(stub, &mut command, "1s");
    scrape_until(&shipping.agent, "samples", |metrics| metrics.taken() > 1500.0);
    shipping.freeze();
    let pending = |metrics: &Metrics| metrics.get("profiler_samples_pending");
    let at_rest = scrape_until(&shipping.agent, "nothing is pending", |metrics| pending(metrics) == 0.0);
    assert_eq!(at_rest.get("profiler_samples_entered_total"), at_rest.taken());
    let last = shipping.agent.last_word();
    let ends = last.exported + last.spooled + last.pending + last.dropped;
    let lacks = i128::from(last.taken) - i128::from(ends);
    assert_eq!(last.stderr.contains("does not balance"), lacks != 0, "{}", last.stderr);
    (at_rest.imbalance(), lacks)
}

#[test]
fn one_record_lost_in_any_stage_is_caught() {
    for stage in STAGES {
        let (scraped, last) = run(Some(stage));
        assert!(scraped >= 1.0 && last >= 1, "{stage} lost one record: {scraped} at rest, {last} at the end");
    }
}

#[test]
fn the_same_build_balances_when_it_loses_nothing() {
    assert_eq!(run(None), (0.0, 0));
}
