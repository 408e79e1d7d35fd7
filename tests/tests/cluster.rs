//! The agent's chart in a real Kubernetes, beside a real Pyroscope: names, shares, rights, and what happens when parts go.
//!
//! All tests share one cluster, which ends with this process; each leaves it as it found it.

use profiler_tests::agent::{Metrics, ledger_line};
use profiler_tests::cluster::install::{FREQUENCY, JOB_SECONDS, chart, is_ready, rolled_out};
use profiler_tests::cluster::logs::Log;
use profiler_tests::cluster::objects::{PROFILING, SHOP, agent_with, job};
use profiler_tests::cluster::{Installed, NODE, Request, cluster, installed, requests, wait_for};
use profiler_tests::pyroscope::{CPU, Range, Stack, value_of, value_where};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The agent's service account, as the API server calls it.
const ACCOUNT: &str = "system:serviceaccount:profiling:profiler-agent";
const CAPABILITIES: [&str; 6] = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG", "CHECKPOINT_RESTORE"];
/// The agent's window.
const INTERVAL: Duration = Duration::from_secs(2);
/// Points of a share, of some 400 samples.
const TOLERANCE: f64 = 0.10;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Pods of [`SHOP`] whose names begin so and that have run.
fn pods(installed: &Installed, name: &str) -> Vec<Value> {
    let of_name = |pod: &Value| text(&pod["metadata"]["name"]).starts_with(&format!("{name}-"));
    let ran = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].is_string();
    let all = installed.cluster.list(&["pods", "--namespace", SHOP]);
    all.into_iter().filter(|pod| of_name(pod) && ran(pod)).collect()
}

fn stacks(installed: &Installed, selector: &str) -> Vec<Stack> {
    installed.server.stacks(CPU, selector, Range::last_hour())
}

fn of_pod(pod: &str) -> String {
    format!("{{k8s_pod_name=\"{pod}\"}}")
}

/// Series of a pod, without those of tests that add labels.
fn series(installed: &Installed, pod: &Value) -> Vec<BTreeMap<String, String>> {
    let name = text(&pod["metadata"]["name"]);
    let selector = format!("{{k8s_pod_name=\"{name}\", route=\"\", release=\"\"}}");
    installed.server.series(&selector, Range::last_hour())
}

/// The labels of a pod, of which there is one set.
fn labels(installed: &Installed, pod: &Value) -> BTreeMap<String, String> {
    let found = wait_for(&format!("series of {}", pod["metadata"]["name"]), || {
        Some(series(installed, pod)).filter(|series| !series.is_empty())
    });
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

/// Compares labels of a pod's series with what kubectl says of the pod and with who owns it.
fn assert_named(installed: &Installed, pod: &Value, kind: &str, owner: &str) {
    let name = text(&pod["metadata"]["name"]);
    let labels = labels(installed, pod);
    let container = text(&pod["spec"]["containers"][0]["name"]);
    let wanted = [
        ("service_name", owner),
        ("service_namespace", text(&pod["metadata"]["namespace"])),
        ("k8s_namespace_name", SHOP),
        ("k8s_pod_name", name),
        ("k8s_container_name", container),
        ("k8s_node_name", text(&pod["spec"]["nodeName"])),
        ("host_name", NODE),
        (&format!("k8s_{kind}_name"), owner),
    ];
    for (key, value) in wanted {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "label {key} of {labels:?}");
    }
}

/// Has the agent as it was installed again, however a test ends.
struct AsInstalled<'a>(&'a Installed);

impl Drop for AsInstalled<'_> {
    fn drop(&mut self) {
        let restored = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.0.helm("upgrade", &[])));
        assert!(restored.is_ok() || std::thread::panicking(), "the agent is not as it was");
    }
}

/// Waits until this much more was taken; nothing may be lost meanwhile.
fn wait_for_samples(installed: &Installed, more: f64) -> Metrics {
    let before = installed.metrics().taken();
    let metrics = wait_for("samples", || Some(installed.metrics()).filter(|now| now.taken() >= before + more));
    metrics.assert_balance();
    metrics
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn series_have_the_names_that_kubectl_says() {
    let installed = installed();
    for (name, kind) in [("web", "deployment"), ("cart", "deployment"), ("import", "job"), ("report", "cronjob")] {
        // Some may have run while no agent did.
        let sampled = |pod: &Value| !series(installed, pod).is_empty();
        let pod = wait_for(name, || pods(installed, name).into_iter().find(sampled));
        assert_named(installed, &pod, kind, name);
    }
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn shares_are_those_of_the_programs_clock() {
    let installed = installed();
    // Of its own: others run while agents are replaced.
    wait_for_samples(installed, 1.0);
    installed.cluster.apply(&[job("counted", JOB_SECONDS)]);
    let done = ["wait", "--namespace", SHOP, "--for=condition=Complete", "--timeout=120s", "job/counted"];
    installed.cluster.kubectl(&done);
    let clock = installed.cluster.kubectl(&["logs", "--namespace", SHOP, "job/counted"]);
    let clock: Value = serde_json::from_str(&clock).unwrap();
    let burnt_ns = clock["cpu_seconds"].as_f64().unwrap() * 1e9;
    assert!(burnt_ns >= JOB_SECONDS.parse::<f64>().unwrap() * 1e9);
    let name = text(&pods(installed, "counted")[0]["metadata"]["name"]).to_owned();
    let total = |stacks: &[Stack]| value_of(stacks) as f64;
    let found = wait_for("the Job's CPU time", || {
        Some(stacks(installed, &of_pod(&name))).filter(|found| total(found) >= burnt_ns * (1.0 - TOLERANCE))
    });
    assert!(total(&found) <= burnt_ns * (1.0 + TOLERANCE), "{} ns of {burnt_ns}", total(&found));
    for function in ["alpha", "beta", "gamma_"] {
        let share = value_where(&found, |stack| stack.has(function)) as f64 / total(&found);
        let truth = clock[function].as_f64().unwrap() * 1e9 / burnt_ns;
        println!("{function}: {share:.3}, by its clock {truth:.3}");
        assert!((share - truth).abs() <= TOLERANCE, "{function}: {share}, by its clock {truth}");
    }
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn pods_that_say_no_are_not_sampled() {
    let installed = installed();
    let pod = wait_for("the pod that says no", || pods(installed, "secret").pop());
    let name = text(&pod["metadata"]["name"]);
    let agent = installed.agent_pod();
    let applied = wait_for("the report that it is applied", || {
        let log = installed.cluster.kubectl(&["logs", "--namespace", PROFILING, text(&agent["metadata"]["name"])]);
        log.lines()
            .find(|line| line.contains("applied: the pod is not sampled") && line.contains(name))
            .map(str::to_owned)
    });
    println!("{applied}");
    // A window that had begun before may hold samples from before.
    std::thread::sleep(2 * INTERVAL);
    let since = Range::from_now();
    wait_for_samples(installed, 4.0 * f64::from(FREQUENCY));
    // By time to the millisecond, unlike series.
    let since_then = |selector: &str| value_of(&installed.server.stacks(CPU, selector, since));
    wait_for("samples of other pods since then", || (since_then("{k8s_namespace_name=\"shop\"}") > 0).then_some(()));
    assert_eq!(since_then(&of_pod(name)), 0);
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn only_pods_of_the_own_node_are_watched() {
    let installed = installed();
    wait_for_samples(installed, 1.0);
    let mut seen = requests(installed.cluster, ACCOUNT);
    // helm test and the trial without rights come as others.
    assert!(!seen.is_empty());
    seen.sort();
    for Request { verb, resource, uri, code } in &seen {
        assert!(matches!(verb.as_str(), "list" | "watch" | "get"), "{verb} {uri}");
        assert_eq!(*code, 200, "{verb} {uri}");
        match resource.as_str() {
            "pods" => assert!(uri.contains(&format!("fieldSelector=spec.nodeName%3D{NODE}")), "{uri}"),
            other => assert_eq!(other, "namespaces", "{uri}"),
        }
    }
    for resource in ["pods", "namespaces"] {
        assert!(seen.iter().any(|request| request.resource == resource && request.verb == "watch"), "{seen:?}");
    }
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn upgrade_and_rollback_lose_nothing() {
    let installed = installed();
    wait_for_samples(installed, 1.0);
    let change = |work: &dyn Fn()| {
        let old = installed.agent_pod();
        let name = text(&old["metadata"]["name"]).to_owned();
        let log = Log::follow(installed.cluster, PROFILING, &name);
        work();
        let [taken, exported, spooled, pending, dropped] = ledger_line(&log.until_end());
        println!("{name}: {taken} taken, {exported} exported, {spooled} spooled");
        assert_eq!((pending, dropped), (0, 0));
        assert_eq!(taken, exported + spooled);
        rolled_out(installed.cluster, "daemonset/profiler-agent");
        assert_ne!(text(&installed.agent_pod()["metadata"]["name"]), name);
        assert_eq!(wait_for_samples(installed, 1.0).sum("profiler_samples_dropped_total"), 0.0);
    };
    change(&|| installed.helm("upgrade", &["agent.labels.release=second"]));
    wait_for("series of the second release", || {
        (!installed.server.series("{release=\"second\"}", Range::last_hour()).is_empty()).then_some(())
    });
    change(&|| drop(installed.cluster.helm(&["rollback", "profiler-agent", "--namespace", PROFILING, "--wait"])));
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn profiles_come_through_the_collector() {
    let installed = installed();
    installed.cluster.import_program("collector", &installed.cluster.program("collector"));
    let upgrade = |endpoint: &str, route: &str| {
        let endpoint = format!("extraEnv[0].value={endpoint}");
        let route = format!("agent.labels.route={route}");
        let image = ["collector.image.registry=localhost", "collector.image.repository=collector"];
        let collector = ["via=collector", "collector.replicas=1", "collector.image.tag=test"];
        let environment = ["extraEnv[0].name=PROFILER_ENDPOINT", &endpoint, "collector.image.pullPolicy=Never"];
        installed.helm("upgrade", &[&image[..], &collector, &environment, &[&route]].concat());
    };
    let _restored = AsInstalled(installed);
    // There is no DNS here: its address is known once it is there.
    upgrade(&installed.server.url(), "direct");
    let service = installed.cluster.get(&["service", "profiler-agent-collector", "--namespace", PROFILING]);
    upgrade(&format!("http://{}:4317", text(&service["spec"]["clusterIP"])), "collector");
    let pod = wait_for("web", || pods(installed, "web").into_iter().find(is_ready));
    let selector = format!("{{route=\"collector\", k8s_pod_name=\"{}\"}}", text(&pod["metadata"]["name"]));
    let series =
        wait_for("series through the collector", || installed.server.series(&selector, Range::last_hour()).pop());
    assert_eq!(series["service_name"], "web");
    let metrics = wait_for_samples(installed, f64::from(FREQUENCY));
    assert_eq!(metrics.sum("profiler_samples_dropped_total"), 0.0);
    let log = installed.cluster.kubectl(&["logs", "--namespace", PROFILING, "deployment/profiler-agent-collector"]);
    assert!(!log.contains("\terror\t"), "{log}");
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn helm_test_says_that_the_node_can_be_profiled() {
    let installed = installed();
    let said = installed.cluster.helm(&["test", "profiler-agent", "--namespace", PROFILING, "--logs"]);
    println!("{said}");
    assert!(said.contains("Succeeded"), "{said}");
    assert!(!said.contains("missing"), "{said}");
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn a_killed_agent_is_replaced() {
    let installed = installed();
    let name = text(&installed.agent_pod()["metadata"]["name"]).to_owned();
    installed.cluster.kubectl(&["delete", "pod", "--namespace", PROFILING, &name, "--force", "--grace-period=0"]);
    let other = || Some(installed.agent_pod()).filter(|pod| text(&pod["metadata"]["name"]) != name);
    wait_for("another agent", other);
    wait_for_samples(installed, f64::from(FREQUENCY));
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn a_killed_server_gets_what_it_missed() {
    let installed = installed();
    installed.cluster.kubectl(&["scale", "--namespace", PROFILING, "--replicas=0", "deployment/pyroscope"]);
    let backlog = |metrics: &Metrics| metrics.get("profiler_samples_spooled");
    let missed = wait_for("samples in the spool", || Some(backlog(&installed_metrics(installed))).filter(|n| *n > 0.0));
    installed.cluster.kubectl(&["scale", "--namespace", PROFILING, "--replicas=1", "deployment/pyroscope"]);
    rolled_out(installed.cluster, "deployment/pyroscope");
    let metrics = wait_for("an empty spool", || Some(installed.metrics()).filter(|now| backlog(now) == 0.0));
    println!("{missed} samples waited for the server");
    assert_eq!(metrics.sum("profiler_samples_dropped_total"), 0.0);
    metrics.assert_balance();
    assert!(value_of(&stacks(installed, &format!("{{k8s_node_name=\"{NODE}\"}}"))) > 0);
}

/// Metrics of an agent that need not be ready: its server is away.
fn installed_metrics(installed: &Installed) -> Metrics {
    Installed::metrics_of(&installed.agent_pods()[0])
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn the_agent_stays_on_a_drained_node() {
    let installed = installed();
    let agent = installed.agent_pod();
    let old = wait_for("a pod of web", || pods(installed, "web").pop());
    let drain = ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"];
    installed.cluster.kubectl(&drain);
    wait_for("a node without workloads", || pods(installed, "web").is_empty().then_some(()));
    installed.cluster.kubectl(&["uncordon", NODE]);
    rolled_out(installed.cluster, "deployment/pyroscope");
    let new = wait_for("a new pod of web", || pods(installed, "web").into_iter().find(is_ready));
    assert_ne!(new["metadata"]["name"], old["metadata"]["name"]);
    assert_eq!(installed.agent_pod()["metadata"]["uid"], agent["metadata"]["uid"]);
    assert_named(installed, &new, "deployment", "web");
}

/// What a pod of the agent says that has these capabilities, until it ends or its log has the text.
fn said_with(name: &str, capabilities: &[&str], arguments: &[&str], text: &str) -> String {
    let installed = installed();
    installed.cluster.apply(&[agent_with(name, capabilities, Some("trial"), arguments)]);
    let log = wait_for(&format!("{text:?} of {name}"), || {
        let output = installed.cluster.try_kubectl(&["logs", "--namespace", PROFILING, name]);
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        log.contains(text).then_some(log)
    });
    installed.cluster.kubectl(&["delete", "pod", "--namespace", PROFILING, name, "--grace-period=1", "--wait=false"]);
    log
}

/// The account of trials has no rights.
fn make_account() {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "trial", "namespace": PROFILING},
    });
    installed().cluster.apply(&[account]);
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn each_missing_capability_is_named() {
    make_account();
    let refused = |name: &str| format!("  capabilities: missing CAP_{name}\n");
    let lost = |name: &str, what: &str| format!("missing CAP_{name}: no names for {what}");
    let cases = [
        ("BPF", "run", refused("BPF")),
        ("PERFMON", "run", refused("PERFMON")),
        ("SYS_PTRACE", "run", refused("SYS_PTRACE")),
        ("DAC_READ_SEARCH", "run", refused("DAC_READ_SEARCH")),
        // Without these it samples: doctor says what is missing.
        ("SYSLOG", "doctor", lost("SYSLOG", "kernel functions")),
        ("CHECKPOINT_RESTORE", "doctor", lost("CHECKPOINT_RESTORE", "deleted libraries")),
    ];
    for (left_out, verb, sentence) in cases {
        let others: Vec<&str> = CAPABILITIES.into_iter().filter(|name| *name != left_out).collect();
        let name = format!("without-{}", left_out.to_lowercase().replace('_', "-"));
        let log = said_with(&name, &others, &[verb], &sentence);
        println!("{left_out}: {sentence:?}");
        assert_eq!(log.contains("profiler-agent: cannot sample this host\n"), verb == "run", "{log}");
    }
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn missing_rights_are_named() {
    make_account();
    let sentence = "the API server does not let the agent list and watch pods (403: pods is forbidden: User \
                    \"system:serviceaccount:profiling:trial\" cannot list resource \"pods\" in API group \"\" at the \
                    cluster scope): containers are named by their ids";
    let log = said_with("without-rights", &CAPABILITIES, &["run"], sentence);
    let fix = "grant get, list and watch of pods to the agent's service account by a ClusterRole and its binding";
    assert!(log.contains(fix), "{log}");
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn every_object_of_the_chart_is_accepted() {
    let installed = installed();
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let profiles = ["values", "values-dev", "values-staging", "values-production"];
    for profile in profiles {
        let values = format!("{chart}/{profile}.yaml");
        let endpoint = "agent.endpoints[0]=http://pyroscope:4040";
        // Pods want their account to be there.
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "dry-run-profiler-agent", "namespace": PROFILING},
        });
        installed.cluster.apply(&[account]);
        let manifest = installed.cluster.helm(&[
            "template",
            "dry-run",
            chart,
            "--namespace",
            PROFILING,
            "--values",
            &values,
            "--set",
            endpoint,
        ]);
        let output = installed.cluster.feed(&["apply", "--dry-run=server", "--namespace", PROFILING], &manifest);
        let (said, refused) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Kinds of operators that this cluster does not have are named, everything else is accepted.
        let foreign = |line: &&str| {
            line.contains("no matches for kind \"ServiceMonitor\"")
                || line.contains("no matches for kind \"PrometheusRule\"")
        };
        let lines = refused.lines().filter(|line| !line.contains("ensure CRDs are installed first"));
        let (left_out, wrong): (Vec<&str>, Vec<&str>) = lines.partition(foreign);
        println!("{profile}: {} accepted, {} of kinds that are not there", said.lines().count(), left_out.len());
        assert_eq!(wrong, [""; 0], "{profile}");
        assert!(said.contains("daemonset.apps/dry-run-profiler-agent"), "{said}");
    }
}

#[test]
#[ignore = "a real cluster; cargo xtask test cluster --long"]
fn the_node_is_ready() {
    let node = cluster().get(&["node", NODE]);
    assert!(is_ready(&node), "{node}");
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.36.3");
}
