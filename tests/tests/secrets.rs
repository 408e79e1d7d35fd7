//! Secrets of the agent's own go to the endpoint and nowhere else: not into logs at any level, `config show`, metrics, the
//! page or the arguments that every user of the host can read.

use profiler_tests::agent::{Agent, binary};
use profiler_tests::stub::{Answer, Protocol, Stub};
use profiler_tests::workload::{Running, compile_c};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// In every secret, and nowhere else.
const CANARY: &str = "hush";

struct Secrets {
    folder: tempfile::TempDir,
}

impl Secrets {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Flags that hold secrets, or name files that do.
    fn flags(&self, basic: bool) -> Vec<String> {
        let file = |name: &str, content: &str| self.file(name, content).display().to_string();
        let mut flags = vec!["--header".into(), "X-One=hush-flag".into(), "--header=X-Two=hush-attached".into()];
        flags.extend(["--header-file".into(), file("headers", "X-Three: hush-line\n")]);
        if basic {
            flags.extend(["--basic-auth-user", "me", "--basic-auth-password-file"].map(str::to_owned));
            flags.push(file("password", "hush-password\n"));
        } else {
            flags.extend(["--bearer-token-file".into(), file("token", "hush-token\n")]);
        }
        flags.extend(["--page-token-file".into(), file("page", "hush-page\n")]);
        flags
    }
}

#[track_caller]
fn assert_silent(what: &str, text: &str) {
    // As Basic authentication writes `me:hush-password`.
    for secret in [CANARY, "bWU6aHVzaC1wYXNzd29yZA"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} tells a secret: {}", line.unwrap_or_default());
    }
}

fn wait_for_requests(stub: &Stub, count: usize) {
    let started = Instant::now();
    while stub.requests() < count {
        assert!(started.elapsed() < Duration::from_secs(30), "{} requests", stub.requests());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn cmdline(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    String::from_utf8_lossy(&bytes).replace('\0', "\n")
}

fn burn(folder: &Path) -> Running {
    Running::start(&compile_c(folder, "burn.c", &[]), &[])
}

#[test]
fn secrets_go_to_the_endpoint_alone() {
    let secrets = Secrets::new();
    let _burn = burn(secrets.folder.path());
    for (protocol, basic) in [(Protocol::Grpc, false), (Protocol::Http, true)] {
        // The second answer is a failure, about which more is said.
        let stub = Stub::start(protocol, move |arrival| match (arrival.part, protocol) {
            (1, Protocol::Http) => Answer::Http(400, None, "no"),
            (1, Protocol::Grpc) => Answer::Close,
            _ => Answer::Accept,
        });
        let mut command = Command::new(binary());
        command.args(["run", "--endpoint", &stub.endpoint(), "--protocol", protocol.flag(), "--interval", "1s"]);
        command.args(["--log-level", "trace"]).args(secrets.flags(basic));
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-four=hush-variable");
        let agent = Agent::start(&mut command);
        let arguments = cmdline(agent.pid());
        assert_silent("/proc/PID/cmdline", &arguments);
        for kept in ["X-One=*********", "--header=X-Two=*************", "--interval"] {
            assert!(arguments.lines().any(|argument| argument == kept), "no {kept} in {arguments}");
        }
        wait_for_requests(&stub, 3);
        for path in ["/metrics", "/", "/api/services?from=now-1h", "/api/flame?service=&from=now-1h", "/readyz"] {
            assert_silent(path, &agent.get_any(path).1);
        }
        let (_, stderr) = agent.stop();
        assert!(stderr.contains("TRACE"), "nothing was traced");
        assert!(stderr.contains("overwritten"), "{stderr}");
        assert_silent("the log", &stderr);
    }
}

#[test]
fn config_show_masks_secrets_of_every_origin() {
    let secrets = Secrets::new();
    let file = secrets.file("agent.toml", "header = { X-Four = \"hush-file\" }\n");
    for from_file in [false, true] {
        let mut show = Command::new(binary());
        show.args(["config", "show"]);
        if from_file {
            show.arg("--config").arg(&file);
        } else {
            show.args(secrets.flags(false)).env("PROFILER_HEADER", "x-five=hush-variable");
        }
        let output = show.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("=***"), "{text}");
        assert_silent("config show", &text);
        assert_silent("config show", &String::from_utf8(output.stderr).unwrap());
    }
}

#[test]
fn mistakes_do_not_repeat_secrets() {
    let secrets = Secrets::new();
    for value in ["hush", "a b=hush", "X-Key=hush\u{1}"] {
        let output = Command::new(binary()).args(["run", "--header", value]).output().unwrap();
        assert!(!output.status.success());
        assert_silent("standard error", &String::from_utf8_lossy(&output.stderr));
    }
    let headers = secrets.file("headers", "hush\n");
    let stub = Stub::start(Protocol::Http, |_| Answer::Accept);
    let headers = headers.display().to_string();
    let agent = Agent::run(&[
        "--endpoint",
        &stub.endpoint(),
        "--protocol",
        "http",
        "--interval",
        "1s",
        "--header-file",
        &headers,
        "--log-level",
        "trace",
    ]);
    let started = Instant::now();
    while !agent.get_any("/readyz").1.contains("header file") {
        assert!(started.elapsed() < Duration::from_secs(30), "{}", agent.get_any("/readyz").1);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_silent("/readyz", &agent.get_any("/readyz").1);
    assert_silent("the log", &agent.stop().1);
}

/// A program in Python with secrets in its arguments and its environment; the named service variables are no secrets.
fn python(folder: &Path) -> Running {
    let script = folder.join("app.py");
    std::fs::write(&script, "while True: sum(range(1000))\n").unwrap();
    let mut python = Command::new("python3");
    python.arg(&script).args(["--password", "hush-argument", "--token=hush-option", "hush-word"]);
    python.env("DATABASE_URL", "postgres://me:hush-environment@db").env("OTEL_SERVICE_NAME", "named-service");
    python.env("OTEL_RESOURCE_ATTRIBUTES", "service.version=1.2.3,service.namespace=shop,api.key=hush-attribute");
    Running::spawn(python.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush-header"))
}

#[test]
fn command_lines_and_environments_of_others_stay_on_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let _named = python(folder.path());
    let burn = compile_c(folder.path(), "burn.c", &[]);
    let mut with_secrets = Command::new(&burn);
    let _burn = Running::spawn(with_secrets.args(["100000", "hush-argument"]).env("PASSWORD", "hush-environment"));
    let script = format!("exec {} 100000 # hush-script", burn.display());
    let _shell = Running::spawn(Command::new("sh").args(["-c", &format!("{script}\n")]));
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let stub = Stub::start(protocol, |_| Answer::Accept);
        let endpoint = stub.endpoint();
        let flags = ["--endpoint", &endpoint, "--protocol", protocol.flag(), "--interval", "1s", "--frequency", "99"];
        let agent = Agent::run(&[&flags[..], &["--log-level", "trace"]].concat());
        let shown = ["named-service", "1.2.3", "shop", "burn", "alpha"];
        let started = Instant::now();
        let exported = loop {
            let arrivals = stub.arrivals();
            let exported: String = arrivals.iter().map(|arrival| format!("{:#?}\n", arrival.request)).collect();
            if shown.iter().all(|shown| exported.contains(shown)) {
                break exported;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{shown:?} were not all exported");
            std::thread::sleep(Duration::from_millis(500));
        };
        assert_silent("what was exported", &exported);
        for path in ["/api/services?from=now-1h", "/api/flame?service=&from=now-1h", "/metrics"] {
            assert_silent(path, &agent.get(path));
        }
        assert_silent("the log", &agent.stop().1);
    }
}
