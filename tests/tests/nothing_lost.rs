//! With a spool nothing is lost: whatever becomes of the network, of the server and of the agent.

use profiler_tests::proxy::{Fault, Proxy};
use profiler_tests::pyroscope::Pyroscope;
use profiler_tests::spooling::{AMBIGUOUS, EXPORTED, PATIENCE, SPOOLED, Spooling, agrees, dropped, settled};
use std::time::{Duration, Instant};

/// Samples of one poll on a loaded machine: 300 ms.
const POLL: f64 = 300.0;

/// Every fault for some seconds, then none at all: everything arrives, once but for what is ambiguous.
#[test]
fn a_proxy_that_misbehaves_costs_nothing() {
    let server = Pyroscope::start();
    let mut proxy = Proxy::start(&server.address);
    let spooling = Spooling::new(&proxy.url());
    let agent = spooling.start();
    agent.balances_until("exports", PATIENCE, |metrics| metrics.get(EXPORTED) > 0.0);
    let faults = [
        Fault::Refuse,
        Fault::Hang,
        Fault::HalfClose,
        Fault::Drip,
        Fault::ResetRequest,
        Fault::ResetAnswer,
        Fault::Garbage,
    ];
    for fault in faults {
        let before = agent.metrics();
        proxy.turn(fault);
        let (during, _) = agent.balances_for(Duration::from_secs(4));
        println!("{fault:?}: {} samples wait", during.get(SPOOLED));
        assert!(during.taken() > before.taken() + 1000.0, "{fault:?} stops sampling");
        assert!(during.get(SPOOLED) > 0.0, "{fault:?} lets everything through");
        proxy.turn(Fault::None);
        agent.balances_until("it goes on", PATIENCE, |metrics| metrics.get(EXPORTED) > during.taken());
    }
    spooling.freeze();
    let at_rest = settled(&agent);
    assert_eq!(at_rest.sum("profiler_samples_dropped_total"), 0.0);
    assert_eq!(at_rest.get(EXPORTED), at_rest.taken());
    assert!(at_rest.get(AMBIGUOUS) > 0.0, "no answer was lost");
    agrees(&server, &at_rest);
    agent.ends_well();
}

fn outage(time: Duration) {
    let server = Pyroscope::start();
    let mut proxy = Proxy::start(&server.address);
    let spooling = Spooling::new(&proxy.url());
    let agent = spooling.start();
    agent.balances_until("exports", PATIENCE, |metrics| metrics.get(EXPORTED) > 0.0);
    proxy.turn(Fault::Refuse);
    let (first, _) = agent.balances_for(time / 2);
    // The agent is replaced in the middle of it.
    let replaced = Instant::now();
    let last = agent.last_word();
    assert_eq!((last.pending, last.dropped), (0, 0), "{}", last.stderr);
    assert!(last.spooled as f64 > first.get(SPOOLED) * 0.9, "{}", last.stderr);
    let agent = spooling.start();
    agent.balances_until("samples again", PATIENCE, |metrics| metrics.taken() > last.taken as f64);
    let without_s = replaced.elapsed().as_secs_f64();
    let (during, _) = agent.balances_for(time / 2);
    assert!(during.get(SPOOLED) > last.spooled as f64, "the backlog of the agent before is gone");
    proxy.turn(Fault::None);
    let live = agent.balances_until("exports go on", PATIENCE, |metrics| metrics.get(EXPORTED) > during.get(EXPORTED));
    assert!(live.get(SPOOLED) > 0.0, "live windows go first");
    spooling.freeze();
    let at_rest = settled(&agent);
    assert_eq!(at_rest.sum("profiler_samples_dropped_total"), 0.0);
    assert_eq!(at_rest.get(EXPORTED), at_rest.taken());
    // A connection that was there may have taken its last requests along; the others were never on their way.
    assert!(at_rest.get(AMBIGUOUS) <= 4.0 * 2000.0, "{} ambiguous", at_rest.get(AMBIGUOUS));
    let gap_s = at_rest.get("profiler_gap_seconds_total");
    println!("{gap_s} s without an agent");
    // Sampling ended after the request to end and began before the first new sample was seen.
    assert!((0.0..without_s).contains(&gap_s), "{gap_s} s without an agent, within {without_s} s");
    agrees(&server, &at_rest);
    let last = agent.ends_well();
    assert_eq!(last.taken, last.exported);
}

#[test]
fn an_outage_of_a_minute_costs_nothing() {
    outage(Duration::from_secs(60));
}

#[test]
#[ignore = "ten minutes; cargo xtask test --long"]
fn an_outage_of_ten_minutes_costs_nothing() {
    outage(Duration::from_secs(600));
}

/// SIGKILL at random moments: what was pending is dropped{killed} at the next start, nothing else.
fn kills(count: u32) {
    let server = Pyroscope::start();
    let spooling = Spooling::new(&server.url());
    let (mut taken, mut killed) = (0.0, 0.0);
    for round in 0..count {
        let agent = spooling.start();
        let start = agent.metrics();
        start.assert_balance();
        // Exact to one poll of the ring buffer.
        assert!(start.taken() >= taken - POLL, "round {round}: {} samples, {taken} before", start.taken());
        let others = start.sum("profiler_samples_dropped_total") - start.get(&dropped("killed"));
        assert_eq!(others, 0.0, "round {round}: {:#?}", start.0);
        assert!(start.get(&dropped("killed")) >= killed);
        killed = start.get(&dropped("killed"));
        // Somewhere between the beginning and the third window, some under load of the replay.
        let moment = Duration::from_millis(150 + u64::from(round) * 739 % 2900);
        taken = agent.balances_for(moment).0.taken();
        agent.signal("-KILL");
        drop(agent);
    }
    let agent = spooling.start();
    spooling.freeze();
    let at_rest = settled(&agent);
    println!("{} of {} samples killed", at_rest.get(&dropped("killed")), at_rest.taken());
    assert_eq!(at_rest.get(EXPORTED) + at_rest.get(&dropped("killed")), at_rest.taken());
    assert!(at_rest.get(EXPORTED) > 0.0);
    agrees(&server, &at_rest);
    agent.ends_well();
}

#[test]
fn killed_ten_times_only_what_was_pending_is_lost() {
    kills(10);
}

#[test]
#[ignore = "a hundred kills; cargo xtask test --long"]
fn killed_a_hundred_times_only_what_was_pending_is_lost() {
    kills(100);
}
