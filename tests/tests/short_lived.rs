//! Processes that live 20 ms: nearly all of their CPU time is sampled, and has names.

use profiler_tests::recorded::{Recorded, is_named};
use profiler_tests::workload::{compile_c, json_lines};
use std::sync::Mutex;

/// Two storms at a time would wait for each other on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A child's samples vary by about half a sample. The five percent allowed are then more than six standard deviations
/// with 24 CPU seconds at 99 Hz, which are 1,200 children, and with 10 at 997 Hz.
fn cpu_seconds(frequency: u32) -> &'static str {
    if frequency < 500 { "24" } else { "10" }
}

fn assert_sampled_and_named(frequency: u32, mode: &str) {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let storm = compile_c(folder.path(), "storm.c", &[]);
    let hz = frequency.to_string();
    let recorded = Recorded::new(&["--frequency", &hz, "--", storm.to_str().unwrap(), cpu_seconds(frequency), mode]);
    let clock = &json_lines(&recorded.stdout)[0];
    let seconds = |name: &str| clock[name].as_f64().expect("the workload's clock");
    let samples_wanted = seconds("children_cpu_seconds") * f64::from(frequency);
    // The parent's own time is in the recording, too.
    let sampled = recorded.samples(|_| true) as f64 - seconds("cpu_seconds") * f64::from(frequency);
    let named = recorded.samples(|stack| is_named(stack.last().unwrap())) as f64
        - seconds("cpu_seconds") * f64::from(frequency);
    let in_child = recorded.with("storm_child") as f64;
    let percent = |part: f64| part / samples_wanted * 100.0;
    println!(
        "{mode} at {frequency} Hz: {clock}, {:.2} % sampled, {:.2} % named, {:.2} % in storm_child",
        percent(sampled),
        percent(named),
        percent(in_child)
    );
    assert!((95.0..105.0).contains(&percent(sampled)), "{:.2} % sampled\n{}", percent(sampled), recorded.stderr);
    assert!(percent(named) >= 90.0, "{:.2} % named: {:#?}", percent(named), recorded.stacks);
    assert!(percent(in_child) >= 75.0, "{:.2} % in storm_child: {:#?}", percent(in_child), recorded.stacks);
}

#[test]
fn forked_processes_are_sampled_and_named_at_99_hz() {
    assert_sampled_and_named(99, "fork");
}

#[test]
fn forked_processes_are_sampled_and_named_at_997_hz() {
    assert_sampled_and_named(997, "fork");
}

#[test]
fn executed_programs_are_sampled_and_named_at_99_hz() {
    assert_sampled_and_named(99, "exec");
}

#[test]
fn executed_programs_are_sampled_and_named_at_997_hz() {
    assert_sampled_and_named(997, "exec");
}
