//! The main job: workloads of known proportions, the agent as a user runs it, a real Pyroscope asked what it has.

use profiler_tests::agent::{Agent, ledger_line};
use profiler_tests::pyroscope::{CPU, Pyroscope, Range, Stack, value_of, value_where};
use profiler_tests::recorded::is_named;
use profiler_tests::workload::{Running, compile_c, compile_plugin, compile_rust};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

const HZ: u32 = 997;
/// Nanoseconds that a sample stands for.
const PERIOD_NS: i64 = 1_000_000_000 / HZ as i64;
/// CPU seconds that give 10,000 samples and some more.
const SECONDS: &str = "11";
/// Two points, as a share.
const TOLERANCE: f64 = 0.02;
/// Within which everything that the server accepted can be read.
const READABLE: Duration = Duration::from_secs(30);

/// Two workloads at a time are enough for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A server and an agent that sends to it.
struct Job {
    server: Pyroscope,
    agent: Agent,
    label: String,
}

/// What the server has after the agent's end.
struct Stored {
    server: Pyroscope,
    label: String,
}

impl Job {
    fn start(protocol: &str, label: &str) -> Self {
        let server = Pyroscope::start();
        let (hz, test) = (HZ.to_string(), format!("test={label}"));
        let to = ["--endpoint", &server.url(), "--protocol", protocol, "--interval", "2s"];
        let agent = Agent::run(&[&to[..], &["--frequency", &hz, "--label", &test]].concat());
        Self { server, agent, label: label.to_owned() }
    }

    /// Ends the agent; checks what is true of every run: all was sent and is there, as one profile type.
    fn finish(self) -> Stored {
        let (status, stderr) = self.agent.stop();
        assert!(status.success(), "{status}: {stderr}");
        let [taken, exported, spooled, pending, dropped] = ledger_line(&stderr);
        println!("{taken} samples taken, {exported} exported");
        assert_eq!((exported, spooled, pending, dropped), (taken, 0, 0, 0), "{stderr}");
        let stored = Stored { server: self.server, label: self.label };
        let samples_ns = i64::try_from(exported).expect("a count") * PERIOD_NS;
        stored.server.wait_for("sum of values equal to samples times period", READABLE, |_| {
            let sum = value_of(&stored.select(""));
            (sum == samples_ns).then_some(()).or_else(|| {
                println!("{sum} ns stored, {samples_ns} ns exported");
                None
            })
        });
        assert_eq!(stored.server.profile_types(Range::last_hour()), [CPU]);
        stored
    }
}

impl Stored {
    /// Stacks of this run; more matchers begin with a comma.
    fn select(&self, matchers: &str) -> Vec<Stack> {
        let selector = format!("{{test=\"{}\"{matchers}}}", self.label);
        self.server.stacks(CPU, &selector, Range::last_hour())
    }

    /// Stacks of a service, each value a multiple of the period; checks its labels.
    fn service(&self, name: &str) -> Vec<Stack> {
        let matchers = format!(",service_name=\"{name}\"");
        let stacks = self.select(&matchers);
        assert!(!stacks.is_empty(), "no service {name} among {:?}", self.services());
        assert!(stacks.iter().all(|stack| stack.value % PERIOD_NS == 0), "a value that is no number of samples");
        let series = self.server.series(&format!("{{test=\"{}\"{matchers}}}", self.label), Range::last_hour());
        assert_eq!(series.len(), 1, "series of {name}: {series:?}");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for (key, value) in [("service_name", name), ("host_name", host.trim()), ("test", &self.label)] {
            assert_eq!(series[0].get(key).map(String::as_str), Some(value), "label {key} of {:?}", series[0]);
        }
        let unwanted = ["pid", "process_pid", "thread_id", "thread_name", "process_id"];
        assert!(unwanted.iter().all(|key| !series[0].contains_key(*key)), "{:?}", series[0]);
        stacks
    }

    fn services(&self) -> Vec<String> {
        self.server.label_values("service_name", Range::last_hour())
    }
}

/// Checks functions' shares of some stacks against the workload's clock.
fn assert_shares(stacks: &[Stack], wanted: &[(&str, f64)]) {
    let total = value_of(stacks);
    let (samples, whole) = (total / PERIOD_NS, wanted.iter().map(|(_, seconds)| seconds).sum::<f64>());
    assert!(samples >= 10_000, "{samples} samples are not enough for statistics");
    for (function, seconds) in wanted {
        let share = value_where(stacks, |stack| stack.has(function)) as f64 / total as f64;
        let truth = seconds / whole;
        println!("{function}: {:.2} % of {samples} samples, {:.2} % by its clock", share * 100.0, truth * 100.0);
        assert!((share - truth).abs() <= TOLERANCE, "{function}: {share:.4}, by its clock {truth:.4}: {stacks:#?}");
    }
}

fn seconds(clock: &Value, name: &str) -> f64 {
    clock[name].as_f64().unwrap_or_else(|| panic!("no {name} in {clock}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn renamed(program: PathBuf, name: &str) -> PathBuf {
    let new = program.with_file_name(name);
    std::fs::rename(program, &new).unwrap();
    new
}

fn c_and_rust(protocol: &str) {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let rust = renamed(compile_rust(folder.path(), "burn.rs"), "burn-rust");
    let c = compile_c(folder.path(), "burn.c", &[]);
    let job = Job::start(protocol, &format!("c-and-rust-{protocol}"));
    let mut c = Running::spawn(Command::new(c).arg(SECONDS).env("OTEL_SERVICE_NAME", "checkout"));
    let mut rust = Running::start(&rust, &[SECONDS]);
    let (c, rust) = (c.wait(), rust.wait());
    let stored = job.finish();
    let wanted = ["alpha", "beta", "gamma_"].map(|name| (name, seconds(&c, name)));
    let stacks = stored.service("checkout");
    assert_shares(&stacks, &wanted);
    assert!(stacks.iter().any(|stack| stack.frames.starts_with(&["alpha", "work", "main"].map(str::to_owned))));
    let wanted = [("burn::alpha", "alpha"), ("burn::beta", "beta"), ("burn::gamma", "gamma")]
        .map(|(f, key)| (f, seconds(&rust, key)));
    let stacks = stored.service("burn-rust");
    assert_shares(&stacks, &wanted);
    let whole = ["burn::alpha", "burn::work", "burn::main"].map(str::to_owned);
    assert!(stacks.iter().any(|stack| stack.frames.starts_with(&whole)));
}

#[test]
fn c_and_rust_over_grpc() {
    c_and_rust("grpc");
}

#[test]
fn c_and_rust_over_http() {
    c_and_rust("http");
}

#[test]
fn threads_keep_their_proportions_in_one_series() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let threads = compile_c(folder.path(), "threads.c", &[]);
    let job = Job::start("grpc", "threads");
    let clock = Running::start(&threads, &["10.5"]).wait();
    let stored = job.finish();
    let stacks = stored.service("threads");
    for thread in ["north", "east", "south", "west"] {
        let of_thread: Vec<Stack> =
            stacks.iter().filter(|stack| stack.has(&format!("run_{thread}"))).cloned().collect();
        let wanted = [(thread, "own"), ("common", "common")].map(|(f, key)| (f, seconds(&clock[thread], key)));
        assert_shares(&of_thread, &wanted);
    }
}

#[test]
fn a_process_that_execs_another_is_two_services_and_a_library_is_named_after_another() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let [execs, burn, dlopens] = ["execs.c", "burn.c", "dlopens.c"].map(|name| compile_c(folder.path(), name, &[]));
    let burn = renamed(burn, "executed");
    let [first, second] = ["first_burn", "second_burn"].map(|inner| compile_plugin(folder.path(), inner));
    let job = Job::start("grpc", "execs-and-dlopens");
    // The thread's clock runs on through exec: a second before it, eleven after.
    let mut execs = Running::start(&execs, &[text(&burn), "12"]);
    let mut dlopens = Running::start(&dlopens, &[text(&first), text(&second), SECONDS]);
    let (execs, dlopens) = (execs.wait_all(), dlopens.wait());
    let stored = job.finish();
    executed(&stored, &execs);
    opened(&stored, &dlopens);
}

fn executed(stored: &Stored, clocks: &[Value]) {
    let (before, after) = (stored.service("execs"), stored.service("executed"));
    let wanted = ["alpha", "beta", "gamma_"].map(|name| (name, seconds(&clocks[1], name)));
    assert_shares(&after, &wanted);
    let both: Vec<Stack> = before.iter().chain(&after).cloned().collect();
    let wanted = [[("before_exec", seconds(&clocks[0], "before_exec"))].as_slice(), &wanted].concat();
    assert_shares(&both, &wanted);
    assert_eq!(value_where(&after, |stack| stack.has("before_exec")), 0, "before_exec in the service after exec");
    assert_eq!(value_where(&before, |stack| stack.has("alpha")), 0, "alpha in the service before exec");
}

fn opened(stored: &Stored, clock: &Value) {
    let stacks = stored.service("dlopens");
    assert_shares(&stacks, &["first_burn", "second_burn", "own_burn"].map(|name| (name, seconds(clock, name))));
    assert!(seconds(clock, "at_same_address") > 0.0, "the loader never used an address again: {clock}");
    let plugin = value_where(&stacks, |stack| stack.has("plugin_burn")) as f64 / value_of(&stacks) as f64;
    let truth = (seconds(clock, "first_burn") + seconds(clock, "second_burn")) / seconds(clock, "cpu_seconds");
    assert!((plugin - truth).abs() <= TOLERANCE, "plugin_burn: {plugin:.4}, by its clock {truth:.4}");
}

#[test]
fn a_fork_storm_is_one_service_sampled_and_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let storm = compile_c(folder.path(), "storm.c", &[]);
    let job = Job::start("grpc", "storm");
    let clock = Running::start(&storm, &["10"]).wait();
    let stored = job.finish();
    let stacks = stored.service("storm");
    let cpu_ns = (seconds(&clock, "children_cpu_seconds") + seconds(&clock, "cpu_seconds")) * 1e9;
    let percent = |value: i64| value as f64 / cpu_ns * 100.0;
    let sampled = percent(value_of(&stacks));
    let named = percent(value_where(&stacks, |stack| is_named(stack.leaf())));
    println!("{clock}: {sampled:.2} % sampled, {named:.2} % named");
    assert!((95.0..105.0).contains(&sampled), "{sampled:.2} % sampled");
    assert!(named >= 90.0, "{named:.2} % named: {stacks:#?}");
}

#[test]
fn a_function_called_like_html_is_stored_as_it_is() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let img = compile_c(folder.path(), "img.c", &[]);
    let job = Job::start("grpc", "img");
    let _clock = Running::start(&img, &["2"]).wait();
    let stacks = job.finish().service("img");
    let share = value_where(&stacks, |stack| stack.leaf() == "<img src=x onerror=alert(1)>") as f64;
    assert!(share / value_of(&stacks) as f64 > 0.9, "{stacks:#?}");
}
