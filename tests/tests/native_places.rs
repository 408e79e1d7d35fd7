//! Whole stacks wherever the code lies: libraries opened and closed in a loop, deleted files, a chroot, a mount
//! namespace, children of every kind.

use profiler_tests::batch::{Batch, Job};
use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{self, Chain, Link, functions};
use std::path::Path;
use std::sync::Mutex;

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// chain.c, 12 functions deep.
fn job(folder: &Path, name: &str, build: &str, start: Start) -> Job {
    let program = compile(folder, name, build, &["chain.c", "leaf.c"]);
    let names: Vec<String> = (0..12).rev().map(|index| format!("f{index:02}")).collect();
    let mut below = functions(&["work"]);
    below.extend(names.into_iter().map(Link::Function));
    Job::new(name, &program, &["2.6", "12"], vec![Chain::new(start.below_main(below))])
}

/// The second library comes where the first was, with other frames at the same addresses.
#[test]
fn libraries_opened_and_closed_in_a_loop_have_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let plug = |name: &str, build: &str, bytes: u32| {
        let flags = format!("{build} -shared -fPIC -DLEAF={name}_leaf -DMIDDLE={name}_middle -DWIDTH={bytes}");
        compile(folder.path(), &format!("{name}.so"), &flags, &["plug.c"])
    };
    let (first, second) = (plug("first", "gcc -O2", 24), plug("second", "gcc -O0", 3000));
    let program = compile(folder.path(), "loads", "gcc -O2 -ldl", &["loads.c"]);
    let chain = |name: &str| {
        let names = [format!("{name}_middle"), "plug_burn".into(), "with_library".into()];
        let below = names.into_iter().map(Link::Function).collect();
        Chain::of(&[&format!("{name}_leaf")], Start::Glibc.below_main(below))
    };
    let arguments = ["2.6", first.to_str().unwrap(), second.to_str().unwrap()];
    let batch = Batch::record(vec![Job::new("loads", &program, &arguments, vec![chain("first"), chain("second")])]);
    let loads = &batch.output(0)[0];
    println!("{loads}");
    assert!(loads["same_address"].as_u64() > Some(40), "the loader must use addresses again: {loads}");
    batch.assert_whole();
}

#[test]
fn deleted_chrooted_and_hidden_programs_have_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let mut deleted = job(folder.path(), "deleted", "gcc -O2", Start::Glibc);
    let program = folder.path().join("deleted");
    // Opened, removed, and only then started.
    deleted.command = format!("sh -c 'exec 9< {0}; rm {0}; exec /proc/self/fd/9 2.6 12'", program.display());
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let mut chrooted = job(&root, "chrooted", "gcc -O2 -static", Start::GlibcStatic);
    chrooted.command = format!("chroot {} /chrooted 2.6 12", root.display());
    let mut hidden = job(folder.path(), "hidden", "gcc -O2", Start::Glibc);
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let script = format!(
        "mount -t tmpfs none {0} && cp {1} {0}/hidden && exec {0}/hidden 2.6 12",
        place.display(),
        folder.path().join("hidden").display()
    );
    hidden.command = format!("unshare --mount --propagation private sh -c '{script}'");
    Batch::record(vec![deleted, chrooted, hidden]).assert_whole();
    assert!(!program.exists() && !place.join("hidden").exists());
}

/// Parents go on after vfork, posix_spawn and fork; each child is the program anew and lives 50 ms.
#[test]
fn children_and_their_parents_have_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "spawns", "gcc -O2", &["spawns.c", "leaf.c"]);
    let ways = ["vfork", "posix_spawn", "fork"];
    let parent = Chain::new(Start::Glibc.below_main(functions(&["parent"])));
    let child = Chain::new(Start::Glibc.below_main(functions(&["inner", "child"])));
    let jobs = ways.map(|way| Job::new(&format!("{way}, parent"), &program, &["2.6", way], vec![parent.clone()]));
    let batch = Batch::record(jobs.to_vec());
    batch.assert_whole();
    let parents: Vec<u32> = (0..ways.len()).map(|index| batch.pid(index)).collect();
    let children = batch.recording.samples.iter().filter(|sample| !parents.contains(&sample.pid));
    let verdict = chain::judge(&[child], children);
    println!("children: {} samples, {:.3} % whole", verdict.samples(), verdict.percent());
    verdict.others.iter().for_each(|(stack, count)| println!("  {count} times {stack}"));
    let seconds: f64 = (0..ways.len()).filter_map(|index| batch.output(index)[0]["children_seconds"].as_f64()).sum();
    // Of a child's 50 ms some are spent before `main`.
    assert!(verdict.samples() as f64 > 0.85 * 997.0 * seconds, "{} samples of {seconds} s", verdict.samples());
    assert!(verdict.percent() >= 95.0, "{} of {} are whole", verdict.whole, verdict.samples());
}
