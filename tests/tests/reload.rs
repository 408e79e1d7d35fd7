//! SIGHUP: the configuration is read again, the ledger balances across it, and sampling goes on.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use profiler_tests::agent::{Agent, Metrics, binary};
use profiler_tests::ledger::Shipping;
use profiler_tests::stub::{Answer, Arrival, Protocol, Stub, profiles};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const ACCEPTED: &str = "profiler_config_reloads_total{outcome=\"accepted\"}";
const REFUSED: &str = "profiler_config_reloads_total{outcome=\"refused\"}";

/// An agent with a configuration file.
struct Configured {
    shipping: Shipping,
    file: PathBuf,
    _folder: TempDir,
}

impl Configured {
    fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiler.toml");
        std::fs::write(&file, text).unwrap();
        let stub = Stub::start(Protocol::Grpc, |_| Answer::Accept);
        let mut command = Command::new(binary());
        let shipping = Shipping::start_with(stub, command.arg("run").arg("--config").arg(&file), "1s");
        let configured = Self { shipping, file, _folder: folder };
        configured.agent().balances_until("exports", PATIENCE, |metrics| exported(metrics) > 0.0);
        configured
    }

    fn agent(&self) -> &Agent {
        &self.shipping.agent
    }

    /// Writes the file anew and has it read.
    fn reload(&self, text: &str, outcome: &str) {
        let before = self.agent().metrics().get(outcome);
        std::fs::write(&self.file, text).unwrap();
        self.agent().signal("-HUP");
        let seen = self.agent().balances_until("reloaded", PATIENCE, |metrics| metrics.get(outcome) > before);
        let more = exported(&seen) + 1000.0;
        self.agent().balances_until("exports go on", PATIENCE, |metrics| exported(metrics) > more);
    }

    /// The labels of what came last.
    fn labels(&self) -> Vec<(String, String)> {
        let arrivals = self.shipping.stub.arrivals();
        labels(arrivals.last().unwrap())
    }
}

fn exported(metrics: &Metrics) -> f64 {
    metrics.get("profiler_samples_exported_total")
}

fn labels(arrival: &Arrival) -> Vec<(String, String)> {
    let resource = arrival.request.resource_profiles[0].resource.as_ref().unwrap();
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let value = |value: &opentelemetry_proto::tonic::common::v1::AnyValue| text(value.value.as_ref().unwrap());
    resource.attributes.iter().map(|label| (label.key.clone(), value(label.value.as_ref().unwrap()))).collect()
}

fn has(labels: &[(String, String)], key: &str, value: &str) -> bool {
    labels.iter().any(|(found, other)| found == key && other == value)
}

/// The longest time between the end of a window and the beginning of the next, in milliseconds.
fn longest_gap_ms(stub: &Stub) -> u64 {
    let mut spans: Vec<(u64, u64)> = stub
        .arrivals()
        .iter()
        .flat_map(|arrival| {
            profiles(&arrival.request).map(|one| (one.time_unix_nano, one.duration_nano)).collect::<Vec<_>>()
        })
        .collect();
    spans.sort_unstable();
    let gaps = spans.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0 + pair[0].1));
    gaps.max().unwrap_or(0) / 1_000_000
}

#[test]
fn labels_rules_and_sampling_change_without_a_loss() {
    let configured = Configured::start("label = { env = \"one\" }\n");
    assert!(has(&configured.labels(), "env", "one"), "{:?}", configured.labels());
    configured.reload("label = { env = \"two\" }\n", ACCEPTED);
    assert!(has(&configured.labels(), "env", "two"), "{:?}", configured.labels());
    // A mistake changes nothing.
    configured.reload("label = { env = \"three\" }\nintervall = \"2s\"\n", REFUSED);
    assert!(has(&configured.labels(), "env", "two"), "{:?}", configured.labels());
    let rule = "[[relabel]]\ntarget-label = \"team\"\nreplacement = \"a\"\n";
    configured.reload(rule, ACCEPTED);
    assert!(has(&configured.labels(), "team", "a"), "{:?}", configured.labels());
    assert!(!configured.labels().iter().any(|(key, _)| key == "env"), "{:?}", configured.labels());
    // Kernel stacks are the kernel program's business: sampling begins anew.
    configured.reload("no-kernel-stacks = true\n", ACCEPTED);
    let (last, stub) = configured.shipping.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    assert_eq!(last.lines_with("SIGHUP: configuration reloaded"), 3, "{}", last.stderr);
    assert_eq!(last.lines_with("SIGHUP: the configuration stays as it was"), 1, "{}", last.stderr);
    assert!(last.stderr.contains("unknown key \"intervall\"; did you mean interval?"), "{}", last.stderr);
    assert_eq!(last.lines_with("sampling anew"), 1, "{}", last.stderr);
    let gap_ms = longest_gap_ms(&stub);
    println!("{gap_ms} ms without a window at most");
    assert!(gap_ms < 1000, "a gap longer than an interval");
}

/// What the agent tells systemd, until `last` comes.
fn told(socket: &UnixDatagram, last: &str) -> Vec<String> {
    let (mut told, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {last}: {error}; {told:?}"));
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        told.extend(text.lines().map(str::to_owned));
        if told.iter().any(|line| line == last) {
            return told;
        }
    }
}

#[test]
fn systemd_is_told_how_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = &folder.path().join("notify");
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let agent = Agent::start(Command::new(binary()).arg("run").env("NOTIFY_SOCKET", path));
    told(&socket, "READY=1");
    assert!(agent.metrics().taken() >= 0.0);
    told(&socket, "WATCHDOG=1");
    agent.signal("-HUP");
    let reloading = told(&socket, "RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    told(&socket, "READY=1");
    agent.signal("-TERM");
    told(&socket, "STOPPING=1");
    agent.ends_well();
}
