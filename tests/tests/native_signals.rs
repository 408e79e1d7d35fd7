//! Whole stacks through signal handlers: on an alternate stack, on that of what was interrupted, one in another.

use profiler_tests::batch::{Batch, Job};
use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{Chain, Link, functions};

/// What a handler returns to, and what it interrupted, when that was in the C library.
fn library(start: Start) -> Link {
    match start {
        Start::Glibc => Link::Module("libc.so.6"),
        // A return address belongs to the instruction before it, but a handler's return address is a function's first:
        // what is before `__restore_rt` has no name.
        _ => Link::Runtime(&["signals", "__restore_rt", "__pthread_kill", "gsignal", "raise", "kill", "__kill"]),
    }
}

fn chains(start: Start) -> Vec<Chain> {
    let below = |links: Vec<Link>| start.below_main(links);
    let [interrupted, handler] =
        [&["interrupted", "caller"], &["on_alternate", "on_trap"]].map(|names| functions(names));
    let burn = functions(&["burn"]);
    let alternate = [&burn[..], &handler, &[library(start)], &interrupted].concat();
    let nested = [functions(&["burn", "on_nested"]), vec![library(start)], handler, vec![library(start)], interrupted];
    let on_stack = [functions(&["burn", "on_stack"]), vec![library(start)], functions(&["caller"])];
    vec![
        Chain::of(&["burn_alternate"], below(alternate)),
        Chain::of(&["burn_nested"], below(nested.concat())),
        Chain::of(&["burn_on_stack"], below(on_stack.concat())),
    ]
}

#[test]
fn handlers_have_whole_stacks_down_to_what_they_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let builds = [
        ("gcc -O0", Start::Glibc),
        ("gcc -O2", Start::Glibc),
        ("clang -O2", Start::Glibc),
        ("gcc -O2 -static", Start::GlibcStatic),
    ];
    let job = |(index, (build, start)): (usize, &(&str, Start))| {
        let program = compile(folder.path(), &format!("signals{index}"), build, &["signals.c"]);
        Job::new(&format!("signals, {build}"), &program, &["2.6"], chains(*start)).known(&program, &["1"])
    };
    Batch::record(builds.iter().enumerate().map(job).collect()).assert_whole();
}
