//! Code made at run time: called what the process itself calls it.

use profiler_tests::agent::{Agent, binary};
use profiler_tests::page_api::{functions, wait_for, wait_for_function};
use profiler_tests::recorded::Recorded;
use profiler_tests::workload::{Running, compile_c};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use tempfile::TempDir;

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Not in `/tmp`: one test hides that.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn jit_as(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    std::fs::rename(compile_c(folder, "jit.c", &[]), &program).unwrap();
    program
}

fn agent() -> Agent {
    Agent::run(&["--frequency", "99", "--interval", "1s"])
}

/// What is sampled while it lives has its names when it is gone, with its map.
#[test]
fn a_perf_map_names_whole_stacks_of_a_process_that_has_ended() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = folder();
    let program = jit_as(folder.path(), "mapped");
    let arguments = ["--frequency", "997", "--", program.to_str().unwrap(), "-", "mapped", "private", "2"];
    let recorded = Recorded::new(&arguments);
    let leaves = recorded.samples(|stack| stack.ends_with(&["mapped outer".into(), "mapped leaf (int)".into()]));
    let in_main =
        recorded.samples(|stack| stack.ends_with(&["main".into(), "mapped outer".into(), "mapped leaf (int)".into()]));
    let all = recorded.of_process("mapped");
    assert!(leaves as f64 > 0.95 * all as f64, "{leaves} of {all}: {:#?}", recorded.stacks);
    assert_eq!(in_main, leaves, "{:#?}", recorded.stacks);
    assert_eq!(recorded.with("[anon]"), 0);
}

/// The map is where only the process sees it, called by an id that only the process has; the one that the host has for
/// its id is another's.
#[test]
fn the_map_is_that_of_the_process_in_its_own_namespaces() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = folder();
    let program = jit_as(folder.path(), "inside");
    let script = "mount -t tmpfs none /tmp && exec \"$1\" - inside";
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--mount", "--propagation", "private", "--fork", "--mount-proc", "--kill-child"]);
    let _inside = Running::spawn(unshare.args(["sh", "-c", script, "sh"]).arg(&program));
    let agent = agent();
    wait_for(&agent, "inside", "inside leaf (int)");
    let found = wait_for(&agent, "inside", "inside outer");
    assert!(!found.iter().any(|function| function.name == "[anon]"), "{found:#?}");
    assert!(!Path::new("/tmp/perf-1.map").exists(), "the map must not be visible here");
    agent.metrics().assert_balance();
}

/// Without randomization both have their code at the same addresses.
#[test]
fn frames_of_different_processes_do_not_mix() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = folder();
    let running = ["one", "other"].map(|name| {
        let program = jit_as(folder.path(), name);
        Running::spawn(Command::new("setarch").arg("-R").arg(program).args(["-", name]))
    });
    let agent = agent();
    let maps = running.each_ref().map(|running| std::fs::read_to_string(format!("/tmp/perf-{}.map", running.pid())));
    let [one, other] = maps.map(|map| map.unwrap().split(' ').next().unwrap().to_owned());
    assert_eq!(one, other, "the addresses are the same");
    for (name, stranger) in [("one", "other"), ("other", "one")] {
        let found = wait_for(&agent, name, &format!("{name} leaf (int)"));
        assert!(!found.iter().any(|function| function.name.starts_with(stranger)), "{found:#?}");
    }
}

#[test]
fn shared_memory_with_code_is_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = folder();
    let running = ["memfd", "shared"].map(|kind| {
        let program = jit_as(folder.path(), &format!("in_{kind}"));
        Running::start(&program, &["-", kind, kind])
    });
    let agent = agent();
    for kind in ["memfd", "shared"] {
        wait_for(&agent, &format!("in_{kind}"), &format!("{kind} leaf (int)"));
    }
    drop(running);
}

/// A jitdump says more than a map; it counts.
#[test]
fn a_jitdump_gives_names_and_lines() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = folder();
    let program = jit_as(folder.path(), "dumped");
    let running = Running::start(&program, &[folder.path().to_str().unwrap(), "dumped"]);
    let output = folder.path().join("dumped.json");
    let mut record = Command::new(binary());
    record.args(["record", "--frequency", "997", "--duration", "2s", "--pid", &running.pid().to_string(), "--output"]);
    let recorded = record.arg(&output).output().unwrap();
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    let profile: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&output).unwrap()).unwrap();
    let dictionary = &profile["dictionary"];
    let index = |value: &serde_json::Value| value.as_u64().unwrap_or(0) as usize;
    let string = |value: &serde_json::Value| dictionary["stringTable"][index(value)].as_str().unwrap_or_default();
    let mut lines: Vec<(&str, &str, u64)> = Vec::new();
    for location in dictionary["locationTable"].as_array().unwrap() {
        for line in location["lines"].as_array().into_iter().flatten() {
            let function = &dictionary["functionTable"][index(&line["functionIndex"])];
            let number = line["line"].as_u64().or_else(|| line["line"].as_str()?.parse().ok()).unwrap_or(0);
            lines.push((string(&function["nameStrindex"]), string(&function["filenameStrindex"]), number));
        }
    }
    for expected in [("dumped leaf of dump", "dumped.js", 42), ("dumped outer of dump", "dumped.js", 41)] {
        assert!(lines.contains(&expected), "{lines:#?}");
    }
    assert!(!lines.iter().any(|(name, _, _)| *name == "dumped leaf (int)"), "{lines:#?}");
}

#[test]
fn code_that_nobody_names_is_anonymous_and_counted() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = folder();
    let program = jit_as(folder.path(), "silent");
    let _silent = Running::start(&program, &["-", "none", "silent"]);
    let agent = agent();
    wait_for_function(&agent, "silent", |function| function.name == "[anon]" && function.module == "[anon]");
    let reason = "profiler_frames_unresolved_total{reason=\"anonymous\"}";
    assert!(agent.metrics().0.get(reason).is_some_and(|&count| count >= 1.0), "{:#?}", agent.metrics().0);
    assert!(!functions(&agent, "silent", "now-1h").iter().any(|function| function.name.contains("leaf")));
}
