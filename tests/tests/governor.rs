//! Budgets are kept, and what is sampled stays true while the frequency changes.

use profiler_tests::agent::{Agent, Metrics};
use profiler_tests::page_api::{functions, services};
use profiler_tests::workload::{Running, compile_c};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until the metrics are as wanted.
#[track_caller]
fn wait_until(agent: &Agent, what: &str, fits: impl Fn(&Metrics) -> bool) -> Metrics {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let metrics = agent.metrics();
        if fits(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < until, "{what}: {metrics:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every sample taken has its place.
fn is_settled(metrics: &Metrics) -> bool {
    metrics.taken() > 0.0 && metrics.get("profiler_samples_exported_total") == metrics.taken()
}

/// CPU seconds of a service since the agent's start.
fn cpu_seconds(agent: &Agent, name: &str) -> f64 {
    let service = services(agent, "now-1h").into_iter().find(|service| service.name == name);
    service.map_or(0.0, |service| service.cpu_ns as f64 / 1e9)
}

#[test]
fn values_are_true_across_changes_of_the_frequency() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let mut workload = Running::held(&compile_c(folder.path(), "threads.c", &[]), &["10"]);
    let pid = workload.pid().to_string();
    let agent = Agent::run(&["--pid", &pid, "--frequency", "997", "--interval", "5s", "--vary-frequency"]);
    workload.go_on();
    let clock = workload.wait();
    let metrics = wait_until(&agent, "windows end", is_settled);
    let changes = metrics.get("profiler_governor_changes_total{reason=\"room\"}");
    assert!(changes >= 15.0, "{changes} changes");
    let (wanted, found) = (clock["cpu_seconds"].as_f64().unwrap(), cpu_seconds(&agent, "threads"));
    let all = functions(&agent, "threads", "now-1h");
    println!("{found:.3} s sampled of {wanted:.3} s, {changes} changes, {} samples", metrics.taken());
    assert!((found / wanted - 1.0).abs() <= 0.03, "{found} s sampled of {wanted} s");
    for name in ["north", "east", "south", "west"] {
        let self_s = all.iter().find(|function| function.name == name).map_or(0.0, |one| one.self_ns as f64 / 1e9);
        let own = clock[name]["own"].as_f64().unwrap();
        println!("{name}: {self_s:.3} s sampled of {own:.3} s");
        assert!((self_s - own).abs() <= 0.03 * wanted, "{name}: {self_s} s sampled of {own} s");
    }
    agent.metrics().assert_balance();
}

#[test]
fn a_cpu_budget_lowers_the_frequency_and_room_raises_it() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "threads.c", &[]);
    let agent = Agent::run(&["--frequency", "4999", "--interval", "2s", "--cpu-budget", "1%"]);
    let load = Running::start(&program, &[]);
    let lowered = wait_until(&agent, "lowered", |metrics| {
        metrics.get("profiler_frequency_hertz") < 2500.0
            && metrics.get("profiler_governor_changes_total{reason=\"cpu\"}") >= 1.0
    });
    assert_eq!(lowered.get("profiler_cpu_budget_ratio"), 0.01);
    lowered.assert_balance();
    let _ = load.finish();
    wait_until(&agent, "raised", |metrics| metrics.get("profiler_governor_changes_total{reason=\"room\"}") >= 1.0);
    let (status, stderr) = agent.stop();
    assert!(status.success(), "{status}: {stderr}");
    assert!(stderr.contains("samples less often") && stderr.contains("samples more often"), "{stderr}");
}

/// Small programs that differ from each other.
fn executables(folder: &Path, count: usize) -> Vec<PathBuf> {
    let source = folder.join("small.c");
    std::fs::write(&source, "int main(void) { for (volatile int i = 0; i < 100000; i++); return 0; }\n").unwrap();
    let program = folder.join("small");
    profiler_tests::workload::run(std::process::Command::new("gcc").args(["-O1", "-o"]).arg(&program).arg(&source));
    let bytes = std::fs::read(&program).unwrap();
    let one = |number: usize| {
        let path = folder.join(format!("small{number}"));
        let mut own = bytes.clone();
        own.extend(number.to_le_bytes());
        std::fs::write(&path, own).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    (0..count).map(one).collect()
}

/// Starts processes as fast as the machine can; how many there were.
fn storm(folder: &Path, seconds: &str, programs: &[PathBuf], mut meanwhile: impl FnMut()) -> f64 {
    let mut arguments = vec![seconds, "2"];
    arguments.extend(programs.iter().map(|path| path.to_str().unwrap()));
    let mut forks = Running::start(&compile_c(folder, "forks.c", &[]), &arguments);
    let stat = format!("/proc/{}/stat", forks.pid());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        meanwhile();
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = forks.wait();
    let (children, seconds) = (said["children"].as_f64().unwrap(), said["seconds"].as_f64().unwrap());
    println!("{children} processes, {:.0} a second", children / seconds);
    children
}

/// Calls of read and the like by the threads that hear of processes: who looks into a process reads of its files.
fn reads(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let paths = threads.map(|thread| thread.unwrap().path());
    let hear = paths.filter(|path| ["pipeline", "ring-reader"].contains(&text(path.join("comm")).trim()));
    hear.map(|path| {
        let io = text(path.join("io"));
        io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse::<f64>().unwrap()
    })
    .sum()
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

#[test]
fn a_process_costs_no_file_until_it_has_a_sample() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let programs = executables(folder.path(), 500);
    let agent = Agent::run(&["--frequency", "1", "--interval", "2s"]);
    let (mut most, before, reads_before) = (0, agent.descriptors(), reads(agent.pid()));
    let processes = storm(folder.path(), "10", &programs, || most = most.max(agent.descriptors()));
    let samples = agent.metrics().taken();
    let made = reads(agent.pid()) - reads_before;
    println!("{processes} processes, {samples} samples: {before} descriptors before, {most} at most, {made} reads");
    // A sampled process has its executable open, and libraries.
    assert!(most as f64 <= before as f64 + 4.0 * samples + 16.0, "{most} descriptors, {before} before");
    // Those of a sampled process, and the counts of each CPU's event every second.
    assert!(made < processes / 10.0, "{made} reads for {processes} processes");
    agent.metrics().assert_balance();
}

#[test]
fn memory_stays_flat_over_thousands_of_executables() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let programs = executables(folder.path(), 5000);
    let agent = Agent::run(&["--frequency", "99", "--interval", "2s", "--memory-budget", "96MiB"]);
    storm(folder.path(), "10", &programs, || {});
    let (first_mib, first_descriptors) = (resident_mib(agent.pid()), agent.descriptors());
    storm(folder.path(), "10", &programs, || {});
    let (second_mib, second_descriptors) = (resident_mib(agent.pid()), agent.descriptors());
    let memory = |metrics: &Metrics, of: &str| metrics.get(&format!("profiler_memory_{of}_bytes"));
    let just_after = memory(&agent.metrics(), "used") / 1048576.0;
    println!("{first_mib:.1} MiB, then {second_mib:.1} MiB; {just_after:.1} MiB with the maps");
    // A host that is busy with more than this has more tables, too: they go when the governor has looked.
    let metrics =
        wait_until(&agent, "within the budget", |metrics| memory(metrics, "used") <= memory(metrics, "budget"));
    println!("{first_descriptors} descriptors, then {second_descriptors}");
    assert!(second_mib < first_mib + 12.0, "{first_mib} MiB, then {second_mib} MiB");
    let budget = memory(&metrics, "budget") / 1048576.0;
    assert!(just_after <= 1.2 * budget, "{just_after} MiB of {budget}");
    assert!(second_descriptors < 2000, "{second_descriptors} descriptors");
    metrics.assert_balance();
}

#[test]
fn services_with_frequencies_of_their_own_keep_true_values() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "threads.c", &[]);
    let start = |name: &str| {
        let path = folder.path().join(name);
        std::fs::copy(&program, &path).unwrap();
        Running::held(&path, &["3"])
    };
    let (mut often, mut seldom) = (start("often"), start("seldom"));
    let config = folder.path().join("profiler.toml");
    std::fs::write(&config, "frequency = 99\n[[service]]\nname = \"often\"\nfrequency = 997\n").unwrap();
    let pids = [&often, &seldom].map(|workload| workload.pid().to_string());
    let config = config.to_str().unwrap();
    let agent = Agent::run(&["--config", config, "--interval", "2s", "--pid", &pids[0], "--pid", &pids[1]]);
    often.go_on();
    seldom.go_on();
    let clocks = [often.wait(), seldom.wait()];
    let metrics = wait_until(&agent, "windows end", is_settled);
    // Four standard deviations of twelve seconds each.
    let mut samples = 0.0;
    for ((name, hz, tolerance), clock) in [("often", 997.0, 0.04), ("seldom", 99.0, 0.12)].into_iter().zip(clocks) {
        let (wanted, found) = (clock["cpu_seconds"].as_f64().unwrap(), cpu_seconds(&agent, name));
        println!("{name}: {found:.3} s sampled of {wanted:.3} s");
        assert!((found / wanted - 1.0).abs() <= tolerance, "{name}: {found} s sampled of {wanted} s");
        samples += hz * wanted;
    }
    println!("{} samples, {samples:.0} by the clocks", metrics.taken());
    assert!((metrics.taken() / samples - 1.0).abs() <= 0.05, "{} samples for {samples:.0}", metrics.taken());
    metrics.assert_balance();
}
