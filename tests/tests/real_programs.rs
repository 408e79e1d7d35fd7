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
    assert_whole_of(load, SAMPLES);
}

fn assert_whole_of(load: fn() -> Load, samples: f64) {
    let _alone = ONE_AT_A_TIME.lock();
    let mut survey = Survey::of(load(), samples, false);
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

/// Seen by `perf record --call-graph dwarf` in the same run, shares of functions as leaf are the same, and no function is
/// on more stacks than with us.
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

/// Its tables are the largest: until they are built, stacks longer than what is copied of them are not whole. That is a
/// part of the first seconds, so there are more samples.
#[test]
#[ignore = "long form"]
fn chromium_has_whole_stacks() {
    assert_whole_of(heavy::chromium, 4.0 * SAMPLES);
}

/// With `-XX:+PreserveFramePointer` as much is asserted of Java as of the others: stacks are whole through what HotSpot
/// interprets and compiles, as both keep frame pointers then. Frames of Java code have no names, and none are asked for:
/// there is no symbol. Without that option, compiled code uses the frame pointer for values and says nowhere in a file
/// where its callers are; nothing is asserted of that.
///
/// The compiler's own stacks are long: those of the first seconds, before the library's table is built, are longer than
/// what is copied of them, so there are more samples.
#[test]
#[ignore = "long form"]
fn openjdk_has_whole_stacks() {
    assert_whole_of(heavy::openjdk, 4.0 * SAMPLES);
}
