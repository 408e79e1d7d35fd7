//! `--pid`, `--cgroup` and a command: only what they allow is sampled.

use profiler_tests::cgroup::{Group, Version};
use profiler_tests::recorded::Recorded;
use profiler_tests::workload::{Running, compile_c};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Groups have one name, and two workloads at a time are enough for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The same program under several names, as that is how a recording calls processes.
fn programs<const N: usize>(folder: &Path, names: [&str; N]) -> [PathBuf; N] {
    let burn = compile_c(folder, "burn.c", &[]);
    names.map(|name| {
        let copy = folder.join(name);
        std::fs::copy(&burn, &copy).unwrap();
        copy
    })
}

/// Samples of these processes, and that there are no others.
fn only(recorded: &Recorded, names: &[&str]) {
    for name in names {
        let samples = recorded.of_process(name);
        println!("{name}: {samples} samples");
        assert!(samples > 200, "{samples} samples of {name}: {:#?}", recorded.stacks);
    }
    let others = recorded.samples(|stack| !names.contains(&&*stack[0]));
    assert_eq!(others, 0, "samples of others than {names:?}: {:#?}", recorded.stacks);
}

#[test]
fn pid_leaves_out_all_other_processes() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let [inside, outside] = programs(folder.path(), ["inside", "outside"]);
    let inside = Running::start(&inside, &[]);
    let _outside = Running::start(&outside, &[]);
    let pid = inside.pid().to_string();
    only(&Recorded::new(&["--frequency", "997", "--duration", "2s", "--pid", &pid]), &["inside"]);
}

#[test]
fn several_pids_are_several_processes() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let [first, second, outside] = programs(folder.path(), ["first", "second", "outside"]);
    let (first, second) = (Running::start(&first, &[]), Running::start(&second, &[]));
    let _outside = Running::start(&outside, &[]);
    let pids = [&first, &second].map(|process| process.pid().to_string());
    let recorded = Recorded::new(&["--frequency", "997", "--duration", "2s", "--pid", &pids[0], "--pid", &pids[1]]);
    only(&recorded, &["first", "second"]);
}

fn assert_only_the_subtree(version: Version) {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(folder.path(), ["inside", "nested", "outside"]);
    let group = Group::new(version);
    let child = group.child("child");
    let beside = group.child("beside");
    let processes = programs.each_ref().map(|program| Running::held(program, &[]));
    group.add(&processes[0]);
    child.add(&processes[1]);
    processes.iter().for_each(Running::go_on);
    let cgroup = |group: &Group| Recorded::new(&["--frequency", "997", "--duration", "2s", "--cgroup", group.as_str()]);
    only(&cgroup(&group), &["inside", "nested"]);
    only(&cgroup(&child), &["nested"]);
    beside.add(&processes[0]);
    only(&cgroup(&beside), &["inside"]);
    drop(processes);
    drop((child, beside));
}

#[test]
fn cgroup_samples_the_subtree_on_a_v1_hierarchy() {
    assert_only_the_subtree(Version::V1);
}

#[test]
fn cgroup_samples_the_subtree_on_the_unified_hierarchy() {
    assert_only_the_subtree(Version::V2);
}

#[test]
fn a_command_is_followed_to_its_grandchildren() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let [child, grandchild, outside] = programs(folder.path(), ["child", "grandchild", "outside"]);
    let _outside = Running::start(&outside, &[]);
    let (child, grandchild) = (child.to_str().unwrap(), grandchild.to_str().unwrap());
    let script = "\"$1\" 1 & sh -c '\"$1\" 1; true' sh \"$2\"; wait";
    let recorded = Recorded::new(&["--frequency", "997", "--", "sh", "-c", script, "sh", child, grandchild]);
    let samples = ["child", "grandchild"].map(|name| recorded.of_process(name));
    println!("child, grandchild: {samples:?} samples");
    assert!(samples.into_iter().all(|samples| samples > 900), "{samples:?}: {:#?}", recorded.stacks);
    assert_eq!(recorded.of_process("outside"), 0);
    assert!(recorded.with("alpha") > 800, "{:#?}", recorded.stacks);
}
