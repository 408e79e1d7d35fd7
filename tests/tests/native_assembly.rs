//! Whole stacks of hand-written assembly: the CFA in other registers (one that a called function saves among them) and in memory, functions without unwind
//! information, stacks of one's own, and a sample at every instruction of prologues and epilogues.

use profiler_tests::batch::{Batch, Job};
use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{Chain, functions};
use std::path::Path;
use std::sync::Mutex;

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// 10,000 samples: they meet every instruction of the short loops.
const EXACT: &str = "10.6";

fn hand_chain(start: Start) -> Chain {
    let burners = ["r10", "r11", "red_zone", "pushes", "states", "deref", "without_cfi", "across"];
    let burners = burners.map(|name| format!("burn_{name}"));
    let callers = ["work", "keeps", "via_kept", "fifth", "via_last_call", "fourth", "via_own_stack", "third"];
    let below = [functions(&callers), functions(&["via_without_cfi", "second", "via_deref", "first"])].concat();
    let below = [below, functions(&["via_large_frame"])].concat();
    Chain { burners: burners.to_vec(), below: start.below_main(below) }
}

fn hand(folder: &Path) -> Vec<Job> {
    let builds = [("gcc -O2 -fomit-frame-pointer", Start::Glibc), ("clang -O2 -static", Start::GlibcStatic)];
    let job = |(index, (build, start)): (usize, &(&str, Start))| {
        let program = compile(folder, &format!("hand{index}"), build, &["hand.c", "hand.S"]);
        Job::new(&format!("hand.S, {build}"), &program, &[EXACT], vec![hand_chain(*start)]).known(&program, &["1"])
    };
    builds.iter().enumerate().map(job).collect()
}

#[test]
fn hand_written_functions_have_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    Batch::record(hand(folder.path())).assert_whole();
}

/// Functions of some ten instructions, called millions of times: most samples are in a prologue or an epilogue.
#[test]
fn prologues_and_epilogues_have_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let builds = ["gcc -O0", "gcc -O2", "gcc -O2 -fno-omit-frame-pointer", "clang -O2", "gcc -O2 -fcf-protection=none"];
    let job = |(index, build): (usize, &&str)| {
        let library =
            compile(folder.path(), &format!("libtiny{index}.so"), &format!("{build} -shared -fPIC"), &["tiny.c"]);
        let build = format!("{build} {}", library.display());
        let program = compile(folder.path(), &format!("calls{index}"), &build, &["calls.c"]);
        let chain = |burners: &[&str], below: &[&str]| Chain::of(burners, Start::Glibc.below_main(functions(below)));
        let chains = vec![
            chain(&["tiny_saves", "tiny_frame", "tiny_branch"], &["calls"]),
            chain(&["tiny_inner"], &["tiny_outer", "calls"]),
            chain(&["tiny_outer"], &["calls"]),
            chain(&["calls"], &[]),
        ];
        Job::new(&format!("tiny functions, {}", builds[index]), &program, &["2.6"], chains)
    };
    Batch::record(builds.iter().enumerate().map(job).collect()).assert_whole();
}
