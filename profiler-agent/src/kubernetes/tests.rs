use super::object::PodObject;
use super::pod::Pod;
use super::{LabelPreset, PodLabels, PodNames, Store};
use crate::container::{self, Container};
use crate::engines;
use crate::process::{Identity, NameSource};
use std::sync::Arc;
use std::time::{Duration, Instant};

const A: &str = "3f0b9a6d51c2e47f80aa1be9d2c4f6083f0b9a6d51c2e47f80aa1be9d2c4f608";
const B: &str = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";
const UID: &str = "7be6f2a4-0c1d-4d5e-9f8a-12ab34cd56ef";

const ALL: [NameSource; 7] = [
    NameSource::Env,
    NameSource::Annotation,
    NameSource::Label,
    NameSource::Owner,
    NameSource::Unit,
    NameSource::Script,
    NameSource::Exe,
];

/// A pod as the API server sends it.
const POD: &str = r#"{
  "apiVersion": "v1", "kind": "Pod",
  "metadata": {
    "name": "web-5d69d7f9c-x2b4z", "namespace": "shop", "uid": "7be6f2a4-0c1d-4d5e-9f8a-12ab34cd56ef",
    "creationTimestamp": "2026-11-22T02:30:30Z", "resourceVersion": "812",
    "labels": { "app": "web", "pod-template-hash": "5d69d7f9c", "team": "cart" LABELS },
    "annotations": { "example.com/tier": "front" ANNOTATIONS },
    "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d69d7f9c",
                          "uid": "0a0b", "controller": true, "blockOwnerDeletion": true }],
    "managedFields": [{ "manager": "kubelet", "operation": "Update" }]
  },
  "spec": {
    "nodeName": "node-1",
    "initContainers": [{ "name": "migrate", "image": "registry:5000/shop/migrate:7" }],
    "containers": [
      { "name": "web", "image": "registry:5000/shop/web:v2.1.0", "resources": {} },
      { "name": "proxy", "image": "envoy@sha256:0f1e" }
    ],
    "tolerations": []
  },
  "status": {
    "phase": "Running",
    "containerStatuses": [
      { "name": "web", "containerID": "containerd://AAA", "state": { "running": { "startedAt": "2026-11-22T02:30:33Z" } },
        "lastState": { "terminated": { "exitCode": 1, "containerID": "containerd://OLD" } } },
      { "name": "proxy", "state": { "waiting": { "reason": "ContainerCreating" } }, "lastState": {} }
    ],
    "initContainerStatuses": [
      { "name": "migrate", "containerID": "containerd://BBB", "state": { "terminated": { "exitCode": 0, "containerID": "containerd://BBB" } } }
    ]
  }
}"#;

fn json(labels: &str, annotations: &str) -> String {
    POD.replace("LABELS", labels).replace("ANNOTATIONS", annotations).replace("AAA", A).replace("BBB", B)
}

fn pod(json: &str) -> Pod {
    Pod::read(&serde_json::from_str::<PodObject>(json).unwrap()).unwrap()
}

fn store(pods: &[Pod]) -> Arc<Store> {
    let store = Arc::<Store>::default();
    pods.iter().for_each(|pod| assert!(store.put(pod.clone(), Instant::now())));
    store
}

fn names(json: &str, wanted: PodLabels) -> PodNames {
    PodNames::new(store(&[pod(json)]), ALL.to_vec(), wanted)
}

fn identity(id: &str, source: NameSource, service: &str) -> Identity {
    let container = container::parse(&format!("0::/kubepods/burstable/pod{UID}/{id}")).map(Arc::new);
    Identity { service: service.into(), source: Some(source), labels: vec![], name: "exe".into(), container }
}

fn shown(names: &PodNames, identity: &Identity) -> String {
    let named = names.of(identity);
    let labels: String = named.labels.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    format!("{}{labels}", named.name)
}

#[test]
fn labels_are_those_of_the_semantic_conventions() {
    let names = names(&json("", ""), PodLabels::default());
    assert_eq!(
        shown(&names, &identity(A, NameSource::Exe, "nginx")),
        "web k8s.container.name=web k8s.deployment.name=web k8s.namespace.name=shop k8s.node.name=node-1 \
         k8s.pod.name=web-5d69d7f9c-x2b4z service.namespace=shop service.version=v2.1.0"
    );
    assert_eq!(
        shown(&names, &identity(B, NameSource::Exe, "sh")),
        "web k8s.container.name=migrate k8s.deployment.name=web k8s.namespace.name=shop k8s.node.name=node-1 \
         k8s.pod.name=web-5d69d7f9c-x2b4z service.namespace=shop service.version=7"
    );
    // The pod's second container has no id yet: which one it is cannot be told.
    let unknown = "c".repeat(64);
    assert_eq!(
        shown(&names, &identity(&unknown, NameSource::Exe, "envoy")),
        "web k8s.deployment.name=web k8s.namespace.name=shop k8s.node.name=node-1 k8s.pod.name=web-5d69d7f9c-x2b4z \
         service.namespace=shop"
    );
}

#[test]
fn the_first_source_that_says_something_names_the_service() {
    let of = |labels: &str, annotations: &str, source| {
        let names = names(&json(labels, annotations), PodLabels::default());
        names.of(&identity(A, source, "own")).name.to_string()
    };
    let annotated = r#", "resource.opentelemetry.io/service.name": "cart""#;
    let named = r#", "app.kubernetes.io/name": "shop-web""#;
    let instance = r#", "app.kubernetes.io/name": "shop-web", "app.kubernetes.io/instance": "shop-blue""#;
    assert_eq!(of(instance, annotated, NameSource::Env), "own");
    assert_eq!(of(instance, annotated, NameSource::Exe), "cart");
    assert_eq!(of(instance, "", NameSource::Exe), "shop-blue");
    assert_eq!(of(named, "", NameSource::Script), "shop-web");
    assert_eq!(of("", "", NameSource::Unit), "web");
    assert_eq!(of(r#", "app.kubernetes.io/instance": " ""#, "", NameSource::Unit), "web");
    let owner_last = PodNames::new(
        store(&[pod(&json("", annotated))]),
        vec![NameSource::Script, NameSource::Owner, NameSource::Annotation],
        PodLabels::default(),
    );
    assert_eq!(&*owner_last.of(&identity(A, NameSource::Script, "app.py")).name, "app.py");
    assert_eq!(&*owner_last.of(&identity(A, NameSource::Exe, "python3")).name, "web");
}

#[test]
fn what_the_process_and_its_annotations_say_goes_first() {
    let annotations = r#", "resource.opentelemetry.io/service.namespace": "eu", "resource.opentelemetry.io/service.version": "9",
        "profiles.grafana.com/service_repository": "https://example.com/shop", "profiles.grafana.com/service_git_ref": "main""#;
    let names = names(&json("", annotations), PodLabels::default());
    let mut process = identity(A, NameSource::Env, "own");
    process.labels = vec![("service.version".into(), "10".into())];
    let named = names.of(&process);
    let value = |key: &str| named.labels.iter().find(|(known, _)| &**known == key).map(|(_, value)| value.to_string());
    assert_eq!(value("service.version").as_deref(), Some("10"));
    assert_eq!(value("service.namespace").as_deref(), Some("eu"));
    assert_eq!(value("service_repository").as_deref(), Some("https://example.com/shop"));
    assert_eq!(value("service_git_ref").as_deref(), Some("main"));
    // With the name and the host's name.
    assert!(named.labels.len() + 2 <= 12, "{named:?}");
}

#[test]
fn chosen_labels_and_annotations_are_added() {
    let chosen = |name: &str, key: &str| (name.to_owned(), key.to_owned());
    let wanted = PodLabels {
        labels: vec![chosen("team", "k8s.pod.label.team"), chosen("missing", "missing")],
        annotations: vec![chosen("example.com/tier", "tier")],
        ..PodLabels::default()
    };
    let named = names(&json("", ""), wanted).of(&identity(A, NameSource::Exe, "nginx"));
    assert!(named.labels.contains(&("k8s.pod.label.team".into(), "cart".into())));
    assert!(named.labels.contains(&("tier".into(), "front".into())));
    assert!(!named.labels.iter().any(|(key, _)| &**key == "missing"));
    assert!(named.labels.is_sorted());
}

#[test]
fn the_preset_of_alloy_has_three_labels() {
    let wanted = || PodLabels { preset: LabelPreset::Alloy, ..PodLabels::default() };
    let process = identity(A, NameSource::Env, "own");
    assert_eq!(
        shown(&names(&json("", ""), wanted()), &process),
        "shop/web container=web namespace=shop pod=web-5d69d7f9c-x2b4z"
    );
    let annotated = names(&json("", r#", "pyroscope.io/service_name": "cart""#), wanted());
    assert_eq!(&*annotated.of(&process).name, "cart");
}

#[test]
fn without_a_pod_there_is_the_id() {
    let names = PodNames::new(Arc::default(), ALL.to_vec(), PodLabels::default());
    assert_eq!(shown(&names, &identity(A, NameSource::Exe, "nginx")), format!("nginx container.id={A}"));
    let host = Identity { container: None, ..identity(A, NameSource::Unit, "ssh") };
    assert_eq!(shown(&names, &host), "ssh");
}

/// Names of a process in a container that an engine has told of.
fn by_engine(container: &str, sources: &[NameSource], preset: LabelPreset, identity: &Identity) -> String {
    let engines = Arc::new(engines::Store::asking());
    let told = engines::listing::described(container.replace("ID", A).as_bytes()).unwrap();
    assert!(engines.answer(&[A.into()], told, None, Instant::now()));
    let names = PodNames::new(Arc::default(), sources.to_vec(), PodLabels { preset, ..PodLabels::default() });
    shown(&names.with_engines(engines), identity)
}

fn on_a_plain_host(source: NameSource) -> Identity {
    let container = Container { ids: vec![A.into()], pod_uid: None };
    Identity { container: Some(Arc::new(container)), ..identity(A, source, "own") }
}

#[test]
fn without_a_pod_the_container_has_the_names_of_its_engine() {
    let of = |container: &str, sources: &[NameSource], source| {
        by_engine(container, sources, LabelPreset::Default, &on_a_plain_host(source))
    };
    let composed = r#"[{"Id":"ID","Names":["/shop-web-1"],"Image":"registry:5000/shop/web:v2",
        "Labels":{"com.docker.compose.service":"web","com.docker.compose.project":"shop"}}]"#;
    let labels = "container.image.name=registry:5000/shop/web container.name=shop-web-1 service.namespace=shop \
                  service.version=v2";
    assert_eq!(of(composed, &ALL, NameSource::Exe), format!("web {labels}"));
    assert_eq!(of(composed, &ALL, NameSource::Env), format!("own {labels}"));
    assert_eq!(of(composed, &[NameSource::Owner], NameSource::Exe), format!("shop-web-1 {labels}"));
    assert_eq!(of(composed, &[NameSource::Exe, NameSource::Label], NameSource::Exe), format!("own {labels}"));
    let plain = r#"[{"Id":"ID","Names":["/cache"],"Image":"redis","Labels":null}]"#;
    assert_eq!(of(plain, &ALL, NameSource::Exe), "cache container.image.name=redis container.name=cache");
    let of_unit = r#"[{"Id":"ID","Names":["systemd-mail"],"Labels":{"PODMAN_SYSTEMD_UNIT":"mail.service"}}]"#;
    assert_eq!(of(of_unit, &ALL, NameSource::Exe), "mail container.name=systemd-mail");
    let mut process = on_a_plain_host(NameSource::Exe);
    process.labels = vec![("service.namespace".into(), "eu".into())];
    assert!(by_engine(composed, &ALL, LabelPreset::Default, &process).contains(" service.namespace=eu "));
    let alloy = by_engine(composed, &ALL, LabelPreset::Alloy, &on_a_plain_host(NameSource::Env));
    assert_eq!(alloy, "shop-web-1 container=shop-web-1");
}

#[test]
fn odd_values_are_bounded_and_printable() {
    let long = "x".repeat(5000);
    let annotations = format!(r#", "resource.opentelemetry.io/service.name": "a\u001b[31m", "long": "{long}""#);
    let wanted = PodLabels { annotations: vec![("long".into(), "long".into())], ..PodLabels::default() };
    let named = names(&json("", &annotations), wanted).of(&identity(A, NameSource::Exe, "nginx"));
    assert_eq!(&*named.name, "a?[31m");
    assert!(named.labels.iter().all(|(key, value)| &**key != "long" && value.len() <= 255));
    assert!(Pod::read(&serde_json::from_str(r#"{"metadata": {}, "spec": {}}"#).unwrap()).is_none());
}

#[test]
fn static_pods_are_known_by_the_hash_of_their_file() {
    let hash = "f2b1c3d4e5a697880123456789abcdef";
    let annotations = format!(r#", "kubernetes.io/config.hash": "{hash}""#);
    let json = json("", &annotations).replace("\"kind\": \"ReplicaSet\"", "\"kind\": \"Node\"");
    assert_eq!(&*pod(&json).uid, hash);
}

/// The pod of a container alone.
fn found(store: &Store, container: &Container) -> bool {
    store.find(container).is_some()
}

#[test]
fn a_pod_that_is_gone_still_names_its_last_samples() {
    let start = Instant::now();
    let store = store(&[pod(&json("", ""))]);
    let by_id = Container { ids: vec![A.into()], pod_uid: None };
    let by_uid = Container { ids: vec!["c".repeat(64).into()], pod_uid: Some(UID.into()) };
    assert!(found(&store, &by_id) && found(&store, &by_uid));
    store.remove(UID, start);
    assert!(store.living().is_empty());
    store.remove("other", start + Duration::from_secs(299));
    assert!(found(&store, &by_id) && found(&store, &by_uid));
    store.remove("other", start + Duration::from_secs(301));
    assert!(!found(&store, &by_id) && !found(&store, &by_uid));
}

#[test]
fn what_a_new_list_lacks_is_gone() {
    let store = store(&[pod(&json("", ""))]);
    let other = pod(&json("", "").replace(UID, "00000000-0000-0000-0000-000000000001").replace(A, "d"));
    store.begin_list();
    assert!(store.put(other.clone(), Instant::now()));
    store.end_list(Instant::now());
    let living: Vec<String> = store.living().iter().map(|pod| pod.uid.to_string()).collect();
    assert_eq!(living, [other.uid.to_string()]);
}

#[test]
fn ids_of_earlier_containers_stay_known() {
    let store = store(&[pod(&json("", ""))]);
    // The container began anew twice: the first id is in no status any more.
    let later = json("", "").replace(A, &"e".repeat(64)).replace("OLD", &"f".repeat(64));
    assert!(store.put(pod(&later), Instant::now()));
    let container = |id: &str| Container { ids: vec![id.into()], pod_uid: None };
    for id in [A, &"e".repeat(64), &"f".repeat(64)] {
        let pod = store.find(&container(id)).unwrap();
        assert_eq!(pod.container(&container(id).ids).unwrap().name, "web", "{id}");
    }
}

#[test]
fn pods_are_bounded() {
    let store = Store::default();
    let numbered =
        |number: u32| pod(&json("", "").replace(UID, &format!("uid-{number}")).replace(A, &format!("id-{number}")));
    let template = numbered(0);
    let of = |number: u32| Pod { uid: format!("uid-{number}").into(), ids: vec![], ..template.clone() };
    let now = Instant::now();
    assert!((0..4096).all(|number| store.put(of(number), now)));
    assert!(!store.put(of(5000), now));
    // Those that are known are still followed, and those gone make room.
    assert!(store.put(of(7), now));
    store.remove("uid-7", now);
    assert!(store.put(of(5000), now));
}
