//! Whole stacks through signal handlers: on an alternate stack, on that of what was interrupted, one in another.

use profiler_tests::batch::{Batch, Job};
use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{Chain, Link, functions};

/// 10,000 samples: the stacks of a process's first milliseconds are copies of one of its two stacks.
const EXACT: &str = "10.6";

/// What a handler returns to: a function of the C library that begins with the system call, and that only its full
/// symbol table has.
fn restorer(start: Start) -> Link {
    match start {
        Start::Glibc => Link::OneOf(vec!["__restore_rt".to_owned(), format!("libc.so.6+{:#x}", restorer_address())]),
        _ => Link::Function("__restore_rt".to_owned()),
    }
}

/// Where `mov $SYS_rt_sigreturn, %rax; syscall` lies in this host's C library.
fn restorer_address() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this process's mappings");
    let mapping = maps.lines().find(|line| line.ends_with("/libc.so.6")).expect("a mapped C library");
    let library = std::fs::read(&mapping[mapping.find('/').expect("a path")..]).expect("the C library");
    let code = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
    // Its text lies in memory as it does in the file.
    library.windows(code.len()).position(|window| window == code).expect("a restorer")
}

/// What a handler returns to, and the library's functions that sent the signal.
fn sent(start: Start) -> [Link; 2] {
    let library = match start {
        Start::Glibc => Link::Module("libc.so.6"),
        _ => Link::Runtime(&["__pthread_kill", "gsignal", "raise", "kill", "__kill"]),
    };
    [restorer(start), library]
}

fn chains(start: Start) -> Vec<Chain> {
    let below = |links: Vec<Link>| start.below_main(links);
    let [interrupted, handler] =
        [&["interrupted", "caller"], &["on_alternate", "on_trap"]].map(|names| functions(names));
    let burn = functions(&["burn"]);
    let alternate = [&burn[..], &handler, &[restorer(start)], &interrupted].concat();
    let raised = [functions(&["burn", "on_nested"]), sent(start).to_vec()].concat();
    let nested = [raised, handler, vec![restorer(start)], interrupted];
    let on_stack = [functions(&["burn", "on_stack"]), sent(start).to_vec(), functions(&["caller"])];
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
        Job::new(&format!("signals, {build}"), &program, &[EXACT], chains(*start)).known(&program, &["1"])
    };
    Batch::record(builds.iter().enumerate().map(job).collect()).assert_whole();
}
