//! Names of pods from an API server, for processes in cgroups as kubelet makes them.

use profiler_tests::agent::{Agent, binary};
use profiler_tests::api_server::ApiServer;
use profiler_tests::cgroup::{Group, Version};
use profiler_tests::series::{Labels, accepting, labels, series, series_since, wait_for};
use profiler_tests::stub::Stub;
use profiler_tests::workload::{Running, compile_c};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const NODE: &str = "node-1";
const PATIENCE: Duration = Duration::from_secs(60);

/// Groups have one name.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cgroups of a pod with one container, innermost first.
struct PodGroup {
    container: Group,
    _pod: Group,
    _kubepods: Group,
    _top: Group,
}

impl PodGroup {
    fn new(uid: &str, id: &str) -> Self {
        let top = Group::new(Version::of_containers());
        let kubepods = top.child("kubepods");
        let pod = kubepods.child(&format!("pod{uid}"));
        Self { container: pod.child(id), _pod: pod, _kubepods: kubepods, _top: top }
    }
}

const UID: &str = "7be6f2a4-0c1d-4d5e-9f8a-12ab34cd56ef";

fn id() -> String {
    "3f0b9a6d51c2e47f80aa1be9d2c4f608".repeat(2)
}

fn pod(annotations: &serde_json::Value) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-5d69d7f9c-x2b4z", "namespace": "shop", "uid": UID,
            "creationTimestamp": "2026-11-22T02:30:30Z", "labels": { "pod-template-hash": "5d69d7f9c", "team": "cart" },
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d69d7f9c", "uid": "rs", "controller": true
            }]
        },
        "spec": {
            "nodeName": NODE,
            "containers": [{ "name": "app", "image": "shop/web:v2" }, { "name": "proxy", "image": "envoy:1" }]
        },
        "status": { "containerStatuses": [{ "name": "app", "containerID": format!("containerd://{}", id()) }] }
    })
}

/// A program of this name that burns CPU in the group.
fn burn(folder: &Path, name: &str, group: &Group) -> Running {
    let program = folder.join(name);
    std::fs::copy(compile_c(folder, "burn.c", &[]), &program).unwrap();
    let running = Running::held(&program, &[]);
    group.add(&running);
    running.go_on();
    running
}

fn agent(api: &ApiServer, stub: &Stub, more: &[&str]) -> Agent {
    let mut command = Command::new(binary());
    command.args(["run", "--endpoint", &stub.endpoint(), "--interval", "1s", "--frequency", "97"]).args(more);
    api.tell(&mut command, NODE);
    Agent::start(&mut command)
}

fn now_unix_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

#[test]
fn processes_have_the_names_of_their_pod() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    let group = PodGroup::new(UID, &id());
    let burning = burn(folder.path(), "nginx", &group.container);
    let agent = agent(&api, &stub, &["--pod-label", "team=team"]);
    // The pod is told of later than its first samples come.
    let early = wait_for(&stub, "container_id", &id());
    assert_eq!((early["service.name"].as_str(), early["host_name"].as_str()), ("nginx", NODE));
    api.put_pod(pod(&json!({ "profiles.grafana.com/service_git_ref": "main" })));
    assert_eq!(
        wait_for(&stub, "k8s_pod_name", "web-5d69d7f9c-x2b4z"),
        labels(&[
            ("service.name", "web"),
            ("service_namespace", "shop"),
            ("service_version", "v2"),
            ("service_git_ref", "main"),
            ("k8s_namespace_name", "shop"),
            ("k8s_pod_name", "web-5d69d7f9c-x2b4z"),
            ("k8s_container_name", "app"),
            ("k8s_node_name", NODE),
            ("k8s_deployment_name", "web"),
            ("host_name", NODE),
            ("team", "cart"),
        ])
    );
    assert_eq!(agent.metrics().get("profiler_kubernetes_pods"), 1.0);
    // A pod that is gone still names its last samples.
    api.delete_pod(UID);
    let started = Instant::now();
    while agent.metrics().get("profiler_kubernetes_pods") > 0.0 {
        assert!(started.elapsed() < PATIENCE, "the pod's end is not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = series(&stub).len();
    let named = |(labels, samples): &(Labels, u64)| labels.contains_key("k8s_pod_name") && *samples > 0;
    // The first of them may be of a window that had ended before.
    while series(&stub).iter().skip(before).filter(|series| named(series)).count() < 2 {
        assert!(started.elapsed() < PATIENCE, "no name after the pod's end: {:#?}", series(&stub));
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(burning);
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    for request in api.requests().iter().filter(|request| request.starts_with("/api/v1/pods")) {
        assert!(request.contains("fieldSelector=spec.nodeName%3Dnode-1"), "{request}");
    }
}

#[test]
fn the_preset_of_alloy_has_its_labels_alone() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    api.put_pod(pod(&json!({})));
    let group = PodGroup::new(UID, &id());
    let _burning = burn(folder.path(), "nginx", &group.container);
    let agent = agent(&api, &stub, &["--label-preset", "alloy"]);
    assert_eq!(
        wait_for(&stub, "pod", "web-5d69d7f9c-x2b4z"),
        labels(&[
            ("service.name", "shop/app"),
            ("namespace", "shop"),
            ("pod", "web-5d69d7f9c-x2b4z"),
            ("container", "app"),
        ])
    );
    drop(_burning);
    drop(agent);
}

#[test]
fn a_version_that_is_too_old_leads_to_a_new_list() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    let group = PodGroup::new(UID, &id());
    let _burning = burn(folder.path(), "nginx", &group.container);
    let agent = agent(&api, &stub, &[]);
    wait_for(&stub, "container_id", &id());
    let lists = || api.requests().iter().filter(|path| path.contains("/pods?") && !path.contains("watch=")).count();
    let before = lists();
    api.forget();
    api.put_pod(pod(&json!({})));
    wait_for(&stub, "k8s_deployment_name", "web");
    assert!(lists() > before, "{:#?}", api.requests());
    let metrics = agent.metrics();
    assert!(metrics.get("profiler_kubernetes_errors_total{reason=\"expired\"}") >= 1.0);
    drop(_burning);
    let (_, log) = agent.stop();
    assert!(!log.contains("410"), "{log}");
}

#[test]
fn without_the_right_there_are_ids_and_one_sentence() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    api.forbid("pods", true);
    api.put_pod(pod(&json!({})));
    let group = PodGroup::new(UID, &id());
    let _burning = burn(folder.path(), "nginx", &group.container);
    let agent = agent(&api, &stub, &[]);
    let labels = wait_for(&stub, "container_id", &id());
    assert_eq!(labels["service.name"], "nginx");
    let started = Instant::now();
    while agent.metrics().get("profiler_kubernetes_errors_total{reason=\"forbidden\"}") < 2.0 {
        assert!(started.elapsed() < PATIENCE, "nothing is counted");
        std::thread::sleep(Duration::from_millis(50));
    }
    api.forbid("pods", false);
    wait_for(&stub, "k8s_pod_name", "web-5d69d7f9c-x2b4z");
    drop(_burning);
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    let sentence = "Kubernetes: the API server does not let the agent list and watch pods (403: pods is forbidden: \
                    User \"system:serviceaccount:profiler:agent\" cannot list resource): containers are named by their ids";
    assert_eq!(log.matches("403").count(), 1, "{log}");
    assert!(log.contains(sentence), "{log}");
    assert!(log.contains("grant get, list and watch of pods to the agent's service account"), "{log}");
    assert!(log.contains("Kubernetes: pods can be watched again"), "{log}");
}

#[test]
fn the_kubelet_tells_of_pods_where_it_may_be_asked() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    ["pods", "kubelet"].iter().for_each(|resource| api.forbid(resource, true));
    api.put_pod(pod(&json!({})));
    let group = PodGroup::new(UID, &id());
    let _burning = burn(folder.path(), "nginx", &group.container);
    let agent = agent(&api, &stub, &["--kubelet-fallback", "--kubelet-url", &api.kubelet_url()]);
    let started = Instant::now();
    while agent.metrics().get("profiler_kubernetes_errors_total{reason=\"kubelet\"}") < 1.0 {
        assert!(started.elapsed() < PATIENCE, "nothing is counted");
        std::thread::sleep(Duration::from_millis(50));
    }
    api.forbid("kubelet", false);
    assert_eq!(wait_for(&stub, "k8s_pod_name", "web-5d69d7f9c-x2b4z")["k8s_deployment_name"], "web");
    drop(_burning);
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    let refused = format!(
        "the kubelet at {} tells of no pods: 403: grant get of nodes/pods to the agent's service account",
        api.kubelet_url()
    );
    let told = format!("pods are those that the kubelet at {} tells of", api.kubelet_url());
    assert_eq!([&refused, &told].map(|sentence| log.matches(sentence.as_str()).count()), [1, 1], "{log}");
}

/// Samples of series in windows that began after a time.
fn samples_since(stub: &Stub, since_unix_ns: u64, wanted: impl Fn(&Labels) -> bool) -> u64 {
    series_since(stub, since_unix_ns).iter().filter(|(labels, _)| wanted(labels)).map(|(_, samples)| samples).sum()
}

/// Waits for samples in windows that began after a time.
fn wait_for_samples(stub: &Stub, since_unix_ns: u64, least: u64, wanted: impl Fn(&Labels) -> bool) {
    let started = Instant::now();
    while samples_since(stub, since_unix_ns, &wanted) < least {
        assert!(started.elapsed() < PATIENCE, "too few samples: {:#?}", series_since(stub, since_unix_ns));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn of_pod(labels: &Labels) -> bool {
    labels.contains_key("k8s_pod_name") || labels.get("container_id") == Some(&id())
}

fn of_beside(labels: &Labels) -> bool {
    labels["service.name"] == "beside"
}

fn wait_for_excluded(agent: &Agent, pods: f64) {
    let started = Instant::now();
    while agent.metrics().get("profiler_kubernetes_pods_excluded") != pods {
        assert!(started.elapsed() < PATIENCE, "the annotation has no effect");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_excluded(annotations: &serde_json::Value, of_namespace: &serde_json::Value) {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    let group = PodGroup::new(UID, &id());
    let burning = burn(folder.path(), "nginx", &group.container);
    let beside = burn_alone(folder.path(), "beside");
    api.put_namespace(json!({ "metadata": { "name": "shop", "uid": "ns" } }));
    api.put_pod(pod(&json!({})));
    let agent = agent(&api, &stub, &[]);
    wait_for(&stub, "k8s_pod_name", "web-5d69d7f9c-x2b4z");
    api.put_namespace(json!({ "metadata": { "name": "shop", "uid": "ns", "annotations": of_namespace } }));
    api.put_pod(pod(annotations));
    wait_for_excluded(&agent, 1.0);
    let applied = now_unix_ns();
    // A storm of forks in the pod costs no sample.
    let storm = Running::held(Path::new("/bin/sh"), &["-c", "while :; do /bin/true; done"]);
    group.container.add(&storm);
    storm.go_on();
    wait_for_samples(&stub, applied, 100, of_beside);
    assert_eq!(samples_since(&stub, applied, of_pod), 0, "{:#?}", series_since(&stub, applied));
    drop(storm);
    // And back.
    api.put_namespace(json!({ "metadata": { "name": "shop", "uid": "ns" } }));
    api.put_pod(pod(&json!({})));
    wait_for_samples(&stub, applied, 10, of_pod);
    wait_for_excluded(&agent, 0.0);
    drop((burning, beside));
    let (_, log) = agent.stop();
    let applied = log.lines().find(|line| line.contains("applied: the pod is not sampled")).expect(&log);
    assert!(applied.contains("namespace=\"shop\" pod=\"web-5d69d7f9c-x2b4z\" delay_ms="), "{applied}");
    println!("{applied}");
}

fn burn_alone(folder: &Path, name: &str) -> Running {
    let program = folder.join(name);
    std::fs::copy(compile_c(folder, "burn.c", &[]), &program).unwrap();
    Running::start(&program, &[])
}

#[test]
fn a_pod_that_says_no_is_not_sampled() {
    assert_excluded(&json!({ "profiler/enabled": "false" }), &json!({}));
}

#[test]
fn a_pod_that_says_no_as_to_other_collectors_is_not_sampled() {
    assert_excluded(&json!({ "profiles.grafana.com/cpu.ebpf.enabled": "false" }), &json!({}));
}

#[test]
fn a_namespace_that_says_no_is_not_sampled() {
    assert_excluded(&json!({}), &json!({ "profiler/enabled": "false" }));
}

#[test]
fn a_pod_that_says_no_has_no_sample_from_the_beginning_on() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    let group = PodGroup::new(UID, &id());
    let burning = burn(folder.path(), "nginx", &group.container);
    let beside = burn_alone(folder.path(), "beside");
    api.put_pod(pod(&json!({ "profiler/enabled": "false" })));
    let agent = agent(&api, &stub, &[]);
    wait_for_excluded(&agent, 1.0);
    wait_for_samples(&stub, now_unix_ns(), 100, of_beside);
    assert_eq!(samples_since(&stub, 0, of_pod), 0, "{:#?}", series_since(&stub, 0));
    drop((burning, beside));
    drop(agent);
}

#[test]
fn pods_are_asked_where_none_is_sampled_otherwise() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    let group = PodGroup::new(UID, &id());
    let burning = burn(folder.path(), "nginx", &group.container);
    api.put_pod(pod(&json!({ "profiler/enabled": "true" })));
    let agent = agent(&api, &stub, &["--default-enabled", "false"]);
    wait_for(&stub, "k8s_pod_name", "web-5d69d7f9c-x2b4z");
    api.put_pod(pod(&json!({})));
    wait_for_excluded(&agent, 1.0);
    let applied = now_unix_ns();
    let beside = burn_alone(folder.path(), "beside");
    wait_for_samples(&stub, applied, 100, of_beside);
    assert_eq!(samples_since(&stub, applied, of_pod), 0, "{:#?}", series_since(&stub, applied));
    drop((burning, beside));
    drop(agent);
}

#[test]
fn a_pod_has_the_frequency_that_it_asks_for() {
    let _alone = alone();
    let (folder, api, stub) = (tempfile::tempdir().unwrap(), ApiServer::start(), accepting());
    let group = PodGroup::new(UID, &id());
    let burning = burn(folder.path(), "nginx", &group.container);
    api.put_pod(pod(&json!({ "profiler/frequency": "5" })));
    let agent = agent(&api, &stub, &[]);
    let started = Instant::now();
    let periods = || -> Vec<i64> {
        let arrivals = stub.arrivals();
        let resources = arrivals.iter().flat_map(|arrival| &arrival.request.resource_profiles);
        let of_pod = resources.filter(|resource| {
            let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
            attributes.into_iter().any(|attribute| attribute.key == "k8s_pod_name")
        });
        let profiles = of_pod.flat_map(|resource| &resource.scope_profiles).flat_map(|scope| &scope.profiles);
        profiles.map(|profile| profile.period).collect()
    };
    while !periods().contains(&200_000_000) {
        assert!(started.elapsed() < PATIENCE, "{:?}", periods());
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(burning);
    let (_, log) = agent.stop();
    assert!(log.contains("applied: the pod is sampled at its frequency"), "{log}");
}
