//! Programs of Debian that nobody here wrote have whole stacks with names.

use profiler_tests::real::load::Load;
use profiler_tests::real::programs;
use profiler_tests::real::survey::Survey;
use std::sync::Mutex;

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Samples of each program.
const SAMPLES: f64 = 5000.0;

fn assert_whole(load: fn() -> Load) {
    let _alone = ONE_AT_A_TIME.lock();
    let mut survey = Survey::of(load(), SAMPLES, false);
    let shares = survey.report();
    assert!(shares.complete >= 99.5 && shares.rooted >= 99.5, "{}: {shares:?}", survey.name);
    assert!(shares.named >= 99.9 && shares.with_symbols > 0, "{}: {shares:?}", survey.name);
}

#[test]
fn python_has_whole_stacks() {
    assert_whole(programs::python);
}

#[test]
fn postgresql_has_whole_stacks() {
    assert_whole(programs::postgresql);
}

#[test]
fn redis_has_whole_stacks() {
    assert_whole(programs::redis);
}

#[test]
fn git_has_whole_stacks() {
    assert_whole(programs::git);
}

#[test]
fn cc1_has_whole_stacks() {
    assert_whole(programs::cc1);
}
