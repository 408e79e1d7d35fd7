//! Samples taken are frequency times CPU time, by the workload's own clock.

use profiler_tests::agent::{Agent, ledger_line};
use profiler_tests::recorded::Recorded;
use profiler_tests::workload::{Running, compile_c, json_lines};
use serde_json::Value;
use std::path::Path;
use std::sync::Mutex;

const HZ: f64 = 997.0;

/// Two workloads at a time would wait for each other on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn assert_taken(taken: u64, clock: &Value) {
    let cpu_seconds = clock["cpu_seconds"].as_f64().expect("the workload's clock");
    let ratio = taken as f64 / (HZ * cpu_seconds);
    println!("{taken} samples of {cpu_seconds:.3} s: {:.3} % of {HZ} Hz", ratio * 100.0);
    assert!(cpu_seconds >= 10.0, "the workload burnt {cpu_seconds} s only");
    assert!((ratio - 1.0).abs() <= 0.02, "{taken} samples of {cpu_seconds} s: {ratio:.4} of what {HZ} Hz gives");
}

/// Taken while `run --pid` samples a workload that is held until sampling has begun.
fn taken_by_run(program: &Path, seconds: &str) -> (u64, Value) {
    let mut workload = Running::held(program, &[seconds]);
    let agent = Agent::run(&["--pid", &workload.pid().to_string(), "--frequency", "997"]);
    workload.go_on();
    let clock = workload.wait();
    let (status, stderr) = agent.stop();
    assert!(status.success(), "{status}: {stderr}");
    let [taken, exported, spooled, pending, dropped] = ledger_line(&stderr);
    assert_eq!((exported, spooled, pending, dropped), (taken, 0, 0, 0), "{stderr}");
    (taken, clock)
}

#[test]
fn record_of_a_command_takes_its_cpu_time_times_the_frequency() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let burn = compile_c(folder.path(), "burn.c", &[]);
    let recorded = Recorded::new(&["--frequency", "997", "--", burn.to_str().unwrap(), "11"]);
    assert_taken(recorded.ledger[0], &json_lines(&recorded.stdout)[0]);
}

#[test]
fn run_of_one_process_takes_its_cpu_time_times_the_frequency() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let (taken, clock) = taken_by_run(&compile_c(folder.path(), "burn.c", &[]), "11");
    assert_taken(taken, &clock);
}

#[test]
fn run_of_many_threads_takes_their_cpu_time_times_the_frequency() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let (taken, clock) = taken_by_run(&compile_c(folder.path(), "threads.c", &[]), "4");
    assert_taken(taken, &clock);
}
