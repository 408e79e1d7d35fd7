//! Programs of Debian that nobody here wrote have whole stacks with names.

use profiler_tests::real::heavy;
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

/// Seen by `perf record --call-graph dwarf` in the same run, shares of functions are the same.
fn assert_as_perf(load: fn() -> Load) {
    let _alone = ONE_AT_A_TIME.lock();
    let mut survey = Survey::of(load(), 4.0 * SAMPLES, true);
    survey.report();
    let distance = survey.distance_from_perf();
    assert!(distance <= 3.0, "{}: {distance:.2} points from perf", survey.name);
}

#[test]
#[ignore = "long form"]
fn python_is_as_perf_sees_it() {
    assert_as_perf(programs::python);
}

#[test]
#[ignore = "long form"]
fn redis_is_as_perf_sees_it() {
    assert_as_perf(programs::redis);
}

#[test]
#[ignore = "long form"]
fn postgresql_is_as_perf_sees_it() {
    assert_as_perf(programs::postgresql);
}

#[test]
#[ignore = "long form"]
fn git_is_as_perf_sees_it() {
    assert_as_perf(programs::git);
}

#[test]
#[ignore = "long form"]
fn cc1_is_as_perf_sees_it() {
    assert_as_perf(programs::cc1);
}

#[test]
#[ignore = "long form"]
fn node_has_whole_stacks() {
    assert_whole(heavy::node);
}

#[test]
#[ignore = "long form"]
fn nginx_has_whole_stacks() {
    assert_whole(heavy::nginx);
}

#[test]
#[ignore = "long form"]
fn ffmpeg_has_whole_stacks() {
    assert_whole(heavy::ffmpeg);
}

#[test]
#[ignore = "long form"]
fn chromium_has_whole_stacks() {
    assert_whole(heavy::chromium);
}

#[test]
#[ignore = "long form"]
fn openjdk_has_whole_stacks() {
    assert_whole(heavy::openjdk);
}
