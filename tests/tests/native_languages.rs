//! Whole stacks of C++ with exceptions and coroutines, of Rust and of Go.

use profiler_tests::batch::{Batch, Job};
use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{Chain, Link, functions};
use profiler_tests::stacks::Frame;
use profiler_tests::workload::{run, source};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SHORT: &str = "2.6";
const EXACT: &str = "10.6";

fn like(name: &str) -> Link {
    Link::Like(name.to_owned())
}

/// What each burner of exceptions.cpp is called by.
fn exceptions() -> Vec<Chain> {
    let burn = || like("shop::burn(");
    let attempt = || like("void shop::attempt<int>(int)");
    let chain =
        |burner: &str, links: Vec<Link>| Chain::of(&[burner], Start::Glibc.below_main([vec![burn()], links].concat()));
    vec![
        chain("burn_caught", vec![attempt()]),
        chain("burn_unwound", vec![like("shop::Guard::~Guard()"), like("shop::guarded(int)"), attempt()]),
        // The library's function that ends a catch block destroys the exception.
        chain("burn_thrown", vec![like("shop::Refused::~Refused()"), Link::Module("libstdc++.so.6"), attempt()]),
        chain("burn_sorted", vec![like("shop::compare("), Link::Module("libc.so.6"), like("shop::sort()")]),
    ]
}

/// Without optimization the handle's own function is a frame.
fn coroutines() -> Vec<Chain> {
    let resumed = |name: &str| vec![like(name), Link::Perhaps(&["std::"]), like("shop::Lines::next()")];
    let timed = || vec![like("shop::timed(")];
    let (read, number) = (resumed("shop::read_lines("), resumed("shop::number_lines("));
    let chain = |burner: &str, links: Vec<Vec<Link>>| Chain::of(&[burner], Start::Glibc.below_main(links.concat()));
    vec![
        chain("alpha", vec![timed(), read, number.clone()]),
        chain("beta", vec![timed(), number]),
        chain("gamma_", vec![timed()]),
    ]
}

fn cplusplus(folder: &Path, seconds: &str) -> Vec<Job> {
    let builds = ["g++ -O0", "g++ -O2", "g++ -O3 -fomit-frame-pointer", "clang++ -O2"];
    let job = |index: usize, build: &str, name: &str, sources: &[&str], chains: Vec<Chain>| {
        let build = format!("{build} -std=c++20");
        let program = compile(folder, &format!("{name}{index}"), &build, sources);
        Job::new(&format!("{name}, {build}"), &program, &[seconds], chains)
    };
    // C++ does not compile C: the burners are an object.
    let leaf = compile(folder, "leaf.o", "gcc -O2 -c", &["leaf.c"]);
    let leaf = leaf.to_str().expect("a path of text");
    let jobs = builds.iter().enumerate().flat_map(|(index, build)| {
        let thrown = job(index, build, "exceptions", &["exceptions.cpp"], exceptions());
        [thrown, job(index, build, "coroutines", &["coroutines.cpp", leaf], coroutines())]
    });
    jobs.collect()
}

#[test]
fn exceptions_and_coroutines_have_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    Batch::record(cplusplus(folder.path(), SHORT)).assert_whole();
}

#[test]
#[ignore = "long form"]
fn shares_are_exact_with_exceptions_and_coroutines() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    Batch::record(cplusplus(folder.path(), EXACT)).assert_whole();
}

/// first > second > third > first > … below main, and below the library's start; a panic's destructor.
fn rust_chains(depth: usize) -> Vec<Chain> {
    let runtime: &'static [&'static str] = &["std::", "core::", "<", "__rust"];
    let start = |mut links: Vec<Link>| {
        links.extend([Link::Function("chain::main".into()), Link::Runtime(runtime)]);
        Start::Glibc.below_main(links)
    };
    let mut deep = vec![like("chain::Clock::burn"), like("chain::work"), like("chain::go_on::{")];
    for index in (0..depth).rev() {
        if index % 3 == 2 {
            deep.push(like("<chain::Third as chain::Step>::step"));
        }
        deep.push(like(["chain::first", "chain::second", "chain::third"][index % 3]));
    }
    let dropped = vec![
        like("chain::Clock::burn"),
        like("<chain::Guard as core::ops::drop::Drop>::drop"),
        Link::Perhaps(&["core::ptr::drop"]),
        like("chain::guarded"),
        Link::Perhaps(&["chain::main::{", "std::", "core::", "<", "__rust"]),
    ];
    vec![Chain::of(&["alpha", "beta"], start(deep)), Chain::of(&["gamma_"], start(dropped))]
}

fn compile_rust(folder: &Path, name: &str, flags: &str) -> PathBuf {
    let program = folder.join(name);
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "--crate-name", "chain"]).args(flags.split(' ')).arg("-o").arg(&program);
    run(rustc.arg(source("chains").join("chain.rs")));
    program
}

fn rust(folder: &Path, seconds: &str) -> Vec<Job> {
    let builds = [
        ("-Copt-level=3 -Cdebuginfo=0", 60),
        ("-Copt-level=3 -Cdebuginfo=2", 60),
        ("-Copt-level=3 -Clto=fat -Ccodegen-units=1", 12),
        ("-Copt-level=0 -Cdebuginfo=2", 30),
    ];
    let job = |(index, (flags, depth)): (usize, &(&str, usize))| {
        let program = compile_rust(folder, &format!("rust{index}"), flags);
        Job::new(&format!("rustc {flags}"), &program, &[seconds, &depth.to_string()], rust_chains(*depth))
    };
    builds.iter().enumerate().map(job).collect()
}

#[test]
fn rust_has_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    Batch::record(rust(folder.path(), SHORT)).assert_whole();
}

#[test]
#[ignore = "long form"]
fn shares_are_exact_in_rust() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    Batch::record(rust(folder.path(), EXACT)).assert_whole();
}

fn go_chain(depth: usize) -> Chain {
    let mut names = vec!["main.timed", "main.work"];
    for index in (0..depth).rev() {
        names.push(["main.first", "main.second", "main.third", "main.(*big).step"][index % 4]);
    }
    names.extend(["main.burnFor", "main.main.gowrap1", "runtime.goexit"]);
    Chain::of(&["main.alpha", "main.beta", "main.gamma_"], functions(&names))
}

/// A flag, and how deep the chain is.
const GO_BUILDS: [(&str, usize); 4] =
    [("", 60), ("-ldflags=-s -w", 30), ("-gcflags=-N -l", 12), ("-buildmode=pie", 12)];

fn go(folder: &Path, seconds: &str) -> Vec<Job> {
    let job = |(index, (flag, depth)): (usize, &(&str, usize))| {
        let program = folder.join(format!("go{index}"));
        let mut go = Command::new("go");
        go.arg("build").args([*flag].iter().filter(|flag| !flag.is_empty())).arg("-o").arg(&program);
        run(go
            .arg(source("chains").join("chain.go"))
            .current_dir(folder)
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off"));
        let name = format!("go build {flag}, {depth} deep");
        // A copy of the stack holds one of Go's two.
        let first = ["0.3", "4"];
        Job::new(&name, &program, &[seconds, &depth.to_string()], vec![go_chain(*depth)]).known(&program, &first)
    };
    GO_BUILDS.iter().enumerate().map(job).collect()
}

/// Whether the goroutine of the garbage collector's worker follows the change of stacks, to its root.
fn goes_on_in_the_worker(frames: &[Frame]) -> bool {
    let names: Vec<&str> = frames.iter().map(|frame| frame.name.as_str()).collect();
    let Some(switch) = names.iter().rposition(|name| *name == "runtime.systemstack") else { return false };
    match names[switch + 1..] {
        ["runtime.gcBgMarkWorker", "runtime.goexit"] => true,
        // Where the worker has an argument, the compiler wraps it for the `go` statement.
        ["runtime.gcBgMarkWorker", wrapper, "runtime.goexit"] => wrapper == "runtime.gcBgMarkStartWorkers.gowrap1",
        _ => false,
    }
}

/// A goroutine burns while another one makes the runtime collect garbage, which it does on the system's stack: there a
/// whole stack goes on on the goroutine's.
#[test]
fn go_has_whole_stacks_on_both_of_its_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let batch = Batch::record(go(folder.path(), "3.6"));
    batch.assert_whole();
    let (mut marking, mut others) = (0, Vec::new());
    let has = |frames: &[Frame], name: &str| frames.iter().any(|frame| frame.name == name);
    for sample in (0..GO_BUILDS.len()).flat_map(|index| batch.recording.of(batch.pid(index))) {
        if has(&sample.frames, "runtime.gcBgMarkWorker.func2") {
            marking += sample.count;
            if !goes_on_in_the_worker(&sample.frames) {
                others.push(sample);
            }
        }
    }
    let lost: u64 = others.iter().map(|sample| sample.count).sum();
    println!("{marking} samples of the garbage collector on the system's stack, {lost} do not reach the goroutine's");
    assert!(marking > 200, "{marking} samples of the garbage collector");
    // Too few for a tenth of a percent. The first sample in a file has its stack copied, and that has one of the two.
    assert!(lost * 100 <= marking, "{lost} of {marking}: {others:#?}");
}

#[test]
#[ignore = "long form"]
fn shares_are_exact_in_go() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    Batch::record(go(folder.path(), EXACT)).assert_whole();
}
