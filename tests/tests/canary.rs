//! The canary against a real Pyroscope: what was accepted can be read, or the agent says that it cannot.

use profiler_tests::agent::Agent;
use profiler_tests::pyroscope::{Pyroscope, Range};
use profiler_tests::workload::{Running, compile_c, free_port};
use std::path::Path;
use std::time::{Duration, Instant};

/// Windows of one second; a verdict on one that cannot be read takes three more.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program that takes CPU time for as long as it is needed.
fn load() -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let burn = compile_c(folder.path(), "burn.c", &[]);
    let running = Running::start(&burn, &[]);
    (folder, running)
}

/// The same under another name.
fn another(folder: &Path, name: &str) -> Running {
    let program = folder.join(name);
    std::fs::copy(folder.join("burn"), &program).unwrap();
    Running::start(&program, &[])
}

/// An agent that sends to a server and asks elsewhere.
fn agent(server: &Pyroscope, canary: &[&str]) -> Agent {
    let url = server.url();
    let arguments = ["--endpoint", &url, "--tenant", "sent", "--interval", "1s", "--frequency", "99"];
    Agent::run(&[&arguments[..], canary].concat())
}

fn checks(agent: &Agent, outcome: &str) -> f64 {
    agent.metrics().get(&format!("profiler_canary_checks_total{{outcome=\"{outcome}\"}}"))
}

fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The body of `/readyz` once the canary is why it says 503.
fn reason(agent: &Agent) -> String {
    wait_for("reason of the canary", || {
        let (status, body) = agent.get_any("/readyz");
        (status == 503 && body.contains("canary")).then_some(body)
    })
}

#[test]
fn what_was_accepted_is_equal_to_what_is_there() {
    let (_folder, _load) = load();
    let server = Pyroscope::start();
    let agent = agent(&server, &["--canary-url", &server.url()]);
    wait_for("five equal windows", || (checks(&agent, "equal") >= 5.0).then_some(()));
    for outcome in ["less", "more", "unreadable"] {
        assert_eq!(checks(&agent, outcome), 0.0, "{outcome}");
    }
    assert_eq!(agent.get_any("/readyz").0, 200);
}

/// Relabelled, folded and dropped: the canary looks for what was sent, not for what was sampled.
#[test]
fn windows_are_equal_whatever_rules_make_of_them() {
    let (folder, _load) = load();
    let _hidden = another(folder.path(), "hidden");
    let file = folder.path().join("rules.toml");
    let rules = "[[relabel]]\nsource-labels = [\"service_name\"]\nregex = \"burn\"\ntarget-label = \"team\"\n\
                 replacement = \"fire\"\n[[relabel]]\naction = \"drop\"\nsource-labels = [\"service_name\"]\n\
                 regex = \"hidden\"\n";
    std::fs::write(&file, rules).unwrap();
    let server = Pyroscope::start();
    let url = server.url();
    let more = ["--config", file.to_str().unwrap(), "--max-series", "3", "--label", "zone=a"];
    let agent = agent(&server, &[&["--canary-url", &url][..], &more].concat());
    wait_for("five equal windows", || (checks(&agent, "equal") >= 5.0).then_some(()));
    let metrics = agent.metrics();
    metrics.assert_balance();
    assert!(metrics.get("profiler_samples_dropped_total{reason=\"relabel\"}") > 0.0, "{metrics:?}");
    assert!(metrics.get("profiler_series") <= 4.0, "{metrics:?}");
    let series = server.series("{zone=\"a\"}", Range::last_hour());
    let services: Vec<&str> = series.iter().map(|labels| labels["service_name"].as_str()).collect();
    assert!(services.contains(&"burn") && !services.contains(&"hidden") && services.len() <= 4, "{series:?}");
    for labels in series.iter().filter(|labels| labels["service_name"] == "burn") {
        assert_eq!(labels.get("team").map(String::as_str), Some("fire"), "{labels:?}");
    }
    for outcome in ["less", "more", "unreadable"] {
        assert_eq!(checks(&agent, outcome), 0.0, "{outcome}");
    }
}

#[test]
fn what_another_tenant_has_not_makes_the_agent_not_ready() {
    let (_folder, _load) = load();
    let server = Pyroscope::start_with(&["-auth.multitenancy-enabled=true"]);
    let agent = agent(&server, &["--canary-url", &server.url(), "--canary-tenant", "other"]);
    let reason = reason(&agent);
    let wanted =
        "canary: 3 windows in a row could not be read back from the server: it shows nothing of what it accepted";
    assert_eq!(reason.trim(), wanted);
    assert_eq!((checks(&agent, "unreadable"), checks(&agent, "equal")), (3.0, 0.0));
    assert_eq!(agent.get_any("/healthz").0, 200);
    assert!(agent.metrics().get("profiler_samples_exported_total") > 0.0);
}

#[test]
fn a_server_that_cannot_be_asked_makes_the_agent_not_ready() {
    let (_folder, _load) = load();
    let server = Pyroscope::start();
    let agent = agent(&server, &["--canary-url", &format!("http://127.0.0.1:{}", free_port())]);
    let reason = reason(&agent);
    assert!(reason.contains("Connection refused"), "{reason}");
    let (status, stderr) = agent.stop();
    assert!(status.success(), "{status}");
    assert!(stderr.contains("what the server accepted cannot be read there"), "{stderr}");
}
