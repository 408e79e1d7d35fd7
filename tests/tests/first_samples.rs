//! The first samples of a new process are not lost: whole stacks in processes that live 50 ms, 200 ms and 1 s.

use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{self, Chain, Link, functions};
use profiler_tests::stacks::Recording;
use profiler_tests::workload::json_lines;
use std::sync::Mutex;

/// Two storms at a time would wait for each other on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// As in short.c.
const DEPTH: usize = 24;

/// Children of `life_ms` milliseconds for `seconds` of CPU; of their samples so many percent must be whole.
fn assert_whole(mode: &str, life_ms: u32, seconds: u32, percent: f64) {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "short", "gcc -O2", &["short.c", "leaf.c"]);
    let [seconds, life] = [seconds, life_ms].map(|number| number.to_string());
    let recording = Recording::new(&["--", program.to_str().unwrap(), &seconds, &life, mode]);
    let mut below = functions(&["work"]);
    below.extend((0..DEPTH).rev().map(|index| Link::Function(format!("f{:02}", index % 12))));
    below.extend(functions(if mode == "fork" { &["child", "start"] } else { &["child"] }));
    let verdict = chain::judge(&[Chain::new(Start::Glibc.below_main(below))], recording.samples.iter());
    let clock = &json_lines(&recording.stdout)[0];
    let children_seconds = clock["children_seconds"].as_f64().expect("the workload's clock");
    let sampled = verdict.samples() as f64 / (997.0 * children_seconds) * 100.0;
    println!(
        "{mode}, {life_ms} ms: {clock}, {} samples ({sampled:.1} %), {:.3} % whole",
        verdict.samples(),
        verdict.percent()
    );
    verdict.others.iter().for_each(|(stack, count)| println!("  {count} times {stack}"));
    // What is missing was in the kernel and the loader, or taken away by a hypervisor.
    assert!(sampled >= 80.0, "{sampled:.1} % of {children_seconds} s sampled\n{}", recording.stderr);
    assert!(verdict.percent() >= percent, "{} of {} whole\n{}", verdict.whole, verdict.samples(), recording.stderr);
}

#[test]
fn executed_programs_of_50_ms() {
    assert_whole("exec", 50, 5, 95.0);
}

#[test]
fn executed_programs_of_200_ms() {
    assert_whole("exec", 200, 5, 99.0);
}

#[test]
fn executed_programs_of_1_s() {
    assert_whole("exec", 1000, 11, 99.9);
}

#[test]
fn forked_processes_of_50_ms() {
    assert_whole("fork", 50, 5, 95.0);
}

#[test]
fn forked_processes_of_200_ms() {
    assert_whole("fork", 200, 5, 99.0);
}

#[test]
fn forked_processes_of_1_s() {
    assert_whole("fork", 1000, 11, 99.9);
}
