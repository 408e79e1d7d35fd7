//! Names of containers from their engines: from one that says what it is told, and from a real Podman.

use profiler_tests::agent::{Agent, binary};
use profiler_tests::cgroup::{Group, Version};
use profiler_tests::engine::{Engine, Says};
use profiler_tests::podman::{IMAGE, Podman};
use profiler_tests::series::{Labels, accepting, labels, series, wait_for};
use profiler_tests::stub::Stub;
use profiler_tests::workload::{Running, compile_c};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Groups have one name.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn id() -> String {
    "3f0b9a6d51c2e47f80aa1be9d2c4f608".repeat(2)
}

/// A program in a cgroup as Docker makes it, innermost first.
struct Contained {
    _running: Running,
    _container: Group,
    _docker: Group,
    _top: Group,
}

fn contained(folder: &Path) -> Contained {
    let top = Group::new(Version::of_containers());
    let docker = top.child("docker");
    let container = docker.child(&id());
    let running = Running::held(&compile_c(folder, "burn.c", &[]), &[]);
    container.add(&running);
    running.go_on();
    Contained { _running: running, _container: container, _docker: docker, _top: top }
}

fn web() -> Says {
    Says::Containers(json!([{
        "Id": id(), "Names": ["/shop-web-1"], "Image": "registry:5000/shop/web:v2", "State": "running",
        "Labels": { "com.docker.compose.service": "web", "com.docker.compose.project": "shop" }
    }]))
}

fn agent(socket: &Path, stub: &Stub) -> Agent {
    let socket = socket.to_str().unwrap();
    let sockets = format!("/nowhere/docker.sock,{socket}");
    Agent::run(&[
        "--endpoint",
        &stub.endpoint(),
        "--interval",
        "1s",
        "--frequency",
        "97",
        "--container-sockets",
        &sockets,
        "--label",
        "host.name=h",
    ])
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Exit code, and standard output of the agent.
fn said(arguments: &[&str], socket: &Path) -> (i32, String) {
    let output = Command::new(binary()).args(arguments).env("PROFILER_CONTAINER_SOCKETS", socket).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    (output.status.code().unwrap(), text)
}

#[test]
fn a_container_has_the_names_of_its_engine() {
    let _alone = alone();
    let (folder, stub) = (tempfile::tempdir().unwrap(), accepting());
    let socket = folder.path().join("engine.sock");
    let contained = contained(folder.path());
    let agent = agent(&socket, &stub);
    assert_eq!(wait_for(&stub, "container_id", &id())["service.name"], "burn");
    // The engine comes later than the container's first samples.
    let engine = Engine::start(&socket, web());
    assert_eq!(
        wait_for(&stub, "container_name", "shop-web-1"),
        labels(&[
            ("service.name", "web"),
            ("service_namespace", "shop"),
            ("service_version", "v2"),
            ("container_name", "shop-web-1"),
            ("container_image_name", "registry:5000/shop/web"),
            ("host_name", "h"),
        ])
    );
    assert_eq!(agent.metrics().get("profiler_containers_named"), 1.0);
    for question in engine.questions() {
        assert!(question.starts_with("GET /containers/json?all=true&filters="), "{question}");
        assert!(question.contains(&id()), "{question}");
    }
    // An engine that is gone takes no name with it.
    drop(engine);
    let before = series(&stub).len();
    let named = |(labels, samples): &(Labels, u64)| labels.contains_key("container_name") && *samples > 0;
    wait_until("no names without the engine", || {
        series(&stub).iter().skip(before).filter(|one| named(one)).count() > 2
    });
    agent.metrics().assert_balance();
    drop(contained);
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("containers are named by Docker/28.0 (linux)"), "{log}");
    assert_eq!(log.matches("/nowhere/docker.sock is not there: containers have their ids").count(), 1, "{log}");
}

#[test]
fn an_engine_that_says_nothing_costs_names_alone() {
    let _alone = alone();
    let (folder, stub) = (tempfile::tempdir().unwrap(), accepting());
    let socket = folder.path().join("engine.sock");
    let engine = Engine::start(&socket, Says::Nothing);
    let _contained = contained(folder.path());
    let agent = agent(&socket, &stub);
    let errors =
        |reason: &str| agent.metrics().get(&format!("profiler_container_engine_errors_total{{reason=\"{reason}\"}}"));
    wait_until("it is waited for in vain", || errors("late") >= 1.0);
    assert_eq!(wait_for(&stub, "container_id", &id())["service.name"], "burn");
    wait_until("samples do not go on", || series(&stub).iter().map(|(_, samples)| samples).sum::<u64>() > 300);
    agent.metrics().assert_balance();
    engine.say(Says::Status(500));
    wait_until("its refusal is not counted", || errors("refused") >= 1.0);
    engine.say(web());
    wait_for(&stub, "container_name", "shop-web-1");
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    let late = format!("the engine at {} does not answer within 5 s: containers have their ids", socket.display());
    assert_eq!(log.matches(&late).count(), 1, "{log}");
    let refused = "does not answer with containers (500: {\"message\":\"as it was told\"}): containers have their ids";
    assert_eq!(log.matches(refused).count(), 1, "{log}");
}

#[test]
fn doctor_and_explain_say_what_an_engine_says_and_why_not() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let contained = contained(folder.path());
    let pid = contained._running.pid().to_string();
    let (_, text) = said(&["explain", &pid], &socket);
    assert!(text.contains(&format!("  engine         none: {} is not there\n", socket.display())), "{text}");
    assert!(text.contains("  service        burn, from exe\n"), "{text}");
    let (_, text) = said(&["doctor"], &socket);
    let absent = format!("warn  container engine  {} is not there: containers have their ids\n", socket.display());
    assert!(text.contains(&absent) && text.contains("fix: start the engine (systemctl start docker.socket"), "{text}");
    let engine = Engine::start(&socket, web());
    let (_, text) = said(&["explain", &pid], &socket);
    for wanted in [
        &format!(
            "  engine         shop-web-1 of registry:5000/shop/web:v2, by Docker/28.0 (linux) at {}\n",
            socket.display()
        ),
        "  service        web, from label\n                 owner would say shop-web-1; exe would say burn; nothing from ",
        "  labels         container.image.name=registry:5000/shop/web, container.name=shop-web-1, ",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
    }
    let (_, text) = said(&["doctor"], &socket);
    let there = format!("ok    container engine  Docker/28.0 (linux) at {}\n", socket.display());
    assert!(text.contains(&there), "{text}");
    drop(engine);
}

#[test]
fn a_socket_that_is_not_the_agents_comes_with_what_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("profiler-agent");
    std::fs::copy(binary(), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let socket = folder.path().join("engine.sock");
    let engine = Engine::start(&socket, web());
    let doctor = |group: &[&str]| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid=65534", "--regid=65534", "--no-new-privs", "--inh-caps=-all"]).args(group);
        let output = setpriv.arg(&program).args(["doctor", "--container-sockets"]).arg(&socket).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = doctor(&["--clear-groups"]);
    let forbidden = format!(
        "warn  container engine  {} is not for the agent's user: containers have their ids\n",
        socket.display()
    );
    assert!(text.contains(&forbidden) && text.contains("SupplementaryGroups=docker in its unit"), "{text}");
    assert_eq!(engine.questions(), [""; 0]);
    let text = doctor(&["--groups=999"]);
    assert!(text.contains("ok    container engine  Docker/28.0 (linux) at "), "{text}");
}

#[test]
fn podman_names_its_containers() {
    let _alone = alone();
    let (folder, stub) = (tempfile::tempdir().unwrap(), accepting());
    let podman = Podman::start(&compile_c(folder.path(), "burn.c", &["-static"]));
    let pid = podman.run("shop", &["com.docker.compose.service=web", "com.docker.compose.project=store"]);
    let agent = agent(&podman.socket(), &stub);
    let image = [("service_version", "v7"), ("container_image_name", "localhost/shop/burn"), ("host_name", "h")];
    let own = [("service.name", "web"), ("service_namespace", "store"), ("container_name", "shop")];
    assert_eq!(wait_for(&stub, "container_name", "shop"), labels(&[&own[..], &image].concat()));
    // One that starts while the agent runs has its name in its first windows.
    let _ = podman.run("cache", &[]);
    let started = Instant::now();
    let own = [("service.name", "cache"), ("container_name", "cache")];
    assert_eq!(wait_for(&stub, "container_name", "cache"), labels(&[&own[..], &image].concat()));
    println!("a new container is named after {:?}", started.elapsed());
    let (_, text) = said(&["explain", &pid.to_string()], &podman.socket());
    assert!(text.contains(&format!("  engine         shop of {IMAGE}, by Libpod/")), "{text}");
    assert!(text.contains("  service        web, from label\n") && text.contains(", podman\n"), "{text}");
    let (_, text) = said(&["doctor"], &podman.socket());
    assert!(text.contains("ok    container engine  Libpod/"), "{text}");
    podman.remove("cache");
    drop(podman);
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("containers are named by Libpod/") && !log.contains("ERROR"), "{log}");
}
