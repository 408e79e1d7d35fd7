//! Whole stacks of C programs, frame by frame, whatever compiler, level, linkage and C library they were built with.

use profiler_tests::batch::{Batch, Job, symbols};
use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{Chain, Link, functions};
use profiler_tests::workload::run;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// CPU seconds of a workload: 2,500 samples, and 10,500 for exact shares.
const SHORT: &str = "2.6";
const EXACT: &str = "10.6";

/// Functions that take more stack than is copied.
const DEEP: usize = 100;

/// How chain.c is built: compiler and flags, in a row of the table.
struct Variant {
    build: &'static str,
    start: Start,
    depth: usize,
}

const fn variant(build: &'static str, start: Start, depth: usize) -> Variant {
    Variant { build, start, depth }
}

const VARIANTS: &[Variant] = &[
    variant("gcc -O0", Start::Glibc, 60),
    variant("gcc -O1", Start::Glibc, 12),
    variant("gcc -O2", Start::Glibc, 60),
    variant("gcc -O3", Start::Glibc, 60),
    variant("gcc -Os", Start::Glibc, 30),
    variant("gcc -O2 -fomit-frame-pointer", Start::Glibc, 200),
    variant("gcc -O2 -fno-omit-frame-pointer", Start::Glibc, 200),
    variant("gcc -O2 -flto", Start::Glibc, 60),
    variant("gcc -O2 -fPIE -pie", Start::Glibc, 13),
    variant("gcc -O2 -fno-pie -no-pie", Start::Glibc, 12),
    variant("gcc -O2 -static", Start::GlibcStatic, 60),
    variant("gcc -O2 -static-pie", Start::GlibcStatic, 12),
    variant("gcc -O2 -fcf-protection=full", Start::Glibc, 23),
    variant("gcc -O2 -fstack-protector-all", Start::Glibc, 24),
    variant("gcc -O2 -fuse-ld=lld", Start::Glibc, 12),
    variant("clang -O0", Start::Glibc, 60),
    variant("clang -O1", Start::Glibc, 12),
    variant("clang -O2", Start::Glibc, 60),
    variant("clang -O3 -fomit-frame-pointer", Start::Glibc, 60),
    variant("clang -O2 -fno-omit-frame-pointer", Start::Glibc, 12),
    variant("clang -O2 -flto -fuse-ld=lld", Start::Glibc, 60),
    variant("clang -O2 -static", Start::GlibcStatic, 12),
    variant("musl-gcc -O2", Start::Musl, 12),
    variant("musl-gcc -O2 -static", Start::MuslStatic, 60),
];

/// f00 to f11 again and again.
fn chain(depth: usize, start: &Start) -> Chain {
    let cycle = (0..depth).rev().map(|index| Link::Function(format!("f{:02}", index % 12)));
    let mut below = functions(&["work"]);
    below.extend(cycle);
    Chain::new(start.below_main(below))
}

fn job(folder: &Path, index: usize, variant: &Variant, seconds: &str) -> Job {
    let Variant { build, start, depth } = variant;
    let program = compile(folder, &format!("chain{index}"), build, &["chain.c", "leaf.c"]);
    let depth_text = depth.to_string();
    let chains = vec![chain(*depth, start)];
    let job = Job::new(&format!("{build}, {depth} deep"), &program, &[seconds, &depth_text], chains);
    if *depth >= DEEP { job.known(&program, &["1", &depth_text]) } else { job }
}

fn assert_whole(variants: &[Variant], seconds: &str) {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let jobs = variants.iter().enumerate().map(|(index, variant)| job(folder.path(), index, variant, seconds));
    Batch::record(jobs.collect()).assert_whole();
}

#[test]
fn every_build_of_a_program_has_whole_stacks() {
    assert_whole(VARIANTS, SHORT);
}

#[test]
fn shares_are_exact_900_deep() {
    assert_whole(
        &[variant("gcc -O2", Start::Glibc, 900), variant("clang -O2 -static-pie", Start::GlibcStatic, 900)],
        EXACT,
    );
}

#[test]
#[ignore = "long form"]
fn shares_are_exact_in_every_build() {
    assert_whole(VARIANTS, EXACT);
}

#[test]
#[ignore = "long form"]
fn every_build_has_whole_stacks_900_deep() {
    let deep = VARIANTS.iter().map(|Variant { build, start, .. }| variant(build, *start, 900));
    assert_whole(&deep.collect::<Vec<_>>(), EXACT);
}

/// Without symbols a frame is `program+0x…`; the file before stripping knows what that is.
#[test]
fn a_stripped_program_has_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let builds = ["gcc -O2", "gcc -O2 -static", "clang -O2"];
    let stripped = |(index, build): (usize, &&'static str)| {
        let start = if build.contains("-static") { Start::GlibcStatic } else { Start::Glibc };
        let mut job = job(folder.path(), index, &variant(build, start, 60), SHORT);
        let program = folder.path().join(format!("chain{index}"));
        job.names = Some((format!("chain{index}"), symbols(&program)));
        job.name = format!("{build}, stripped");
        run(Command::new("strip").arg("--strip-all").arg(&program));
        job
    };
    Batch::record(builds.iter().enumerate().map(stripped).collect()).assert_whole();
}

/// Names come from the debug file beside the program, found by `.gnu_debuglink`.
#[test]
fn a_stripped_program_with_a_debug_file_has_named_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 0, &variant("gcc -O2 -g", Start::Glibc, 60), SHORT);
    let program = folder.path().join("chain0");
    let debug = folder.path().join("chain0.debug");
    run(Command::new("objcopy").arg("--only-keep-debug").args([&program, &debug]));
    run(Command::new("strip").arg("--strip-all").arg(&program));
    run(Command::new("objcopy").arg(format!("--add-gnu-debuglink={}", debug.display())).arg(&program));
    Batch::record(vec![job]).assert_whole();
}
