//! The agent does its work with what it needs and nothing else: few capabilities, a filter of system calls on every
//! thread, and ports and folders of its own.

use profiler_tests::agent::{Agent, binary};
use profiler_tests::page_api::{wait_for, wait_for_function};
use profiler_tests::stub::{Answer, Protocol, Stub};
use profiler_tests::workload::{Running, compile_c, http_get};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const PATIENCE: Duration = Duration::from_secs(30);

/// BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH, CHECKPOINT_RESTORE.
const KEPT: &str = "000001c000080004";
/// The same and SYSLOG.
const SIX: &str = "000001c400080004";
/// None.
const NOTHING: &str = "0000000000000000";

/// A thread as the kernel sees it: its name, and the lines of its status.
struct Thread {
    name: String,
    status: BTreeMap<String, String>,
}

fn threads(agent: &Agent) -> Vec<Thread> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let thread = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let pair = |line: &str| line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
        let status: BTreeMap<_, _> = status.lines().filter_map(pair).collect();
        Thread { name: status["Name"].clone(), status }
    };
    tasks.map(thread).collect()
}

/// Every thread, those of the page's answers among them.
fn assert_confined(agent: &Agent) {
    assert_confined_within(agent, KEPT);
}

/// The same where the bounding set is not the agent's to change.
fn assert_confined_within(agent: &Agent, bounding: &str) {
    // Answers are computed on threads of their own.
    let _ = agent.get("/api/flame?service=&from=now-1h");
    // The page answers a moment before the thread that started all others is done.
    let started = Instant::now();
    while threads(agent).iter().any(|thread| thread.status["Seccomp"] != "2") && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    let threads = threads(agent);
    for thread in &threads {
        let wanted = [
            ("CapEff", KEPT),
            ("CapPrm", KEPT),
            ("CapBnd", bounding),
            ("CapInh", NOTHING),
            ("CapAmb", NOTHING),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ];
        for (key, value) in wanted {
            assert_eq!(thread.status[key], value, "{key} of {}", thread.name);
        }
    }
    let names: Vec<&str> = threads.iter().map(|thread| thread.name.as_str()).collect();
    for name in ["ring-reader", "pipeline", "symbolizer", "table-builder", "slab-maker", "network", "tokio-rt-worker"] {
        assert!(names.contains(&name), "no thread {name} among {names:?}");
    }
}

/// Starts a program in a mount namespace and a root folder of its own, as the only thing there; when asked to, nobody
/// has a name for it any more once it runs.
fn contained(folder: &Path, program: &Path, name: &str, remove: bool) -> Running {
    let root = folder.join(format!("root-{name}"));
    std::fs::create_dir(&root).unwrap();
    let script = r#"
        set -e
        mount -t tmpfs none "$1"
        cp "$2" "$1/$3"
        if [ "$4" = true ]; then (sleep 1; rm "$1/$3") & fi
        exec chroot "$1" "/$3"
    "#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(&root).arg(program).arg(name).arg(remove.to_string());
    let running = Running::spawn(&mut unshare);
    let seen = std::path::PathBuf::from(format!("/proc/{}/root/{name}", running.pid()));
    let exe = format!("/proc/{}/exe", running.pid());
    let runs = || std::fs::read_link(&exe).is_ok_and(|exe| exe.to_string_lossy().contains(&format!("/{name}")));
    let started = Instant::now();
    while !runs() || seen.exists() == remove {
        assert!(started.elapsed() < PATIENCE, "the program does not run as it should");
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

#[test]
fn a_confined_agent_names_what_starts_later_in_other_mount_namespaces() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "burn.c", &["-static"]);
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let flag = protocol.flag();
        let removed = contained(folder.path(), &program, &format!("removed-{flag}"), true);
        let stub = Stub::start(protocol, |_| Answer::Accept);
        let agent = Agent::run(&[
            "--endpoint",
            &stub.endpoint(),
            "--protocol",
            protocol.flag(),
            "--frequency",
            "99",
            "--interval",
            "1s",
        ]);
        assert_confined(&agent);
        wait_for(&agent, &format!("removed-{flag}"), "alpha");
        let present = contained(folder.path(), &program, &format!("present-{flag}"), false);
        wait_for(&agent, &format!("present-{flag}"), "alpha");
        // The kernel's own functions, long after the right to see their addresses was given up.
        wait_for_function(&agent, "", |function| function.kind == "kernel" && !function.name.starts_with('['));
        assert_confined(&agent);
        drop((present, removed));
        let (status, stderr) = agent.stop();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(stub.samples() > 0, "nothing was exported");
        assert!(stderr.contains("confined") && stderr.contains("seccomp=true"), "{stderr}");
        assert!(!stderr.contains("ERROR"), "{stderr}");
    }
}

/// Another user than root, who was given what the documentation asks for and can get nothing else.
#[test]
fn nobody_with_six_capabilities_samples_and_is_confined() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("agent");
    std::fs::copy(binary(), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let _burn = Running::start(&compile_c(folder.path(), "burn.c", &[]), &[]);
    let six = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+syslog,+checkpoint_restore";
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    setpriv.args(["bounding-set", "inh-caps", "ambient-caps"].map(|set| format!("--{set}={six}")));
    let agent = Agent::start(setpriv.arg(&program).args(["run", "--interval", "1s"]));
    wait_for(&agent, "burn", "alpha");
    wait_for_function(&agent, "", |function| function.kind == "kernel" && !function.name.starts_with('['));
    assert_confined_within(&agent, SIX);
}

#[test]
fn the_page_answers_from_a_confined_agent() {
    let _alone = ONE_AT_A_TIME.lock();
    let agent = Agent::run(&["--interval", "1s"]);
    for path in ["/", "/metrics", "/healthz", "/api/services?from=now-1h"] {
        assert_eq!(http_get(&format!("{}{path}", agent.address)).map(|(status, _)| status), Some(200), "{path}");
    }
    assert_confined(&agent);
}
