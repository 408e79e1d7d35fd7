//! Processes and what they map: found, named and called right, whatever became of their files, ids and namespaces.

use profiler_tests::agent::Agent;
use profiler_tests::page_api::{Service, services, wait_for};
use profiler_tests::recorded::Recorded;
use profiler_tests::workload::{Running, compile_c, compile_plugin};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Each needs the CPUs, and some the table of pids, for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn agent() -> Agent {
    Agent::run(&["--frequency", "99", "--interval", "1s"])
}

/// burn.c under another name.
fn burn_as(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    std::fs::rename(compile_c(folder, "burn.c", &[]), &program).unwrap();
    program
}

#[track_caller]
fn assert_named(agent: &Agent, service: &str) {
    for name in ["alpha", "beta", "gamma_", "work", "main"] {
        wait_for(agent, service, name);
    }
    agent.metrics().assert_balance();
}

fn service(agent: &Agent, name: &str) -> Option<Service> {
    services(agent, "now-1h").into_iter().find(|service| service.name == name)
}

#[test]
fn a_deleted_binary_is_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let before = burn_as(folder.path(), "deleted_before");
    let _before = Running::start(&before, &[]);
    std::fs::remove_file(&before).unwrap();
    let agent = agent();
    assert_named(&agent, "deleted_before");
    let after = burn_as(folder.path(), "deleted_after");
    let _after = Running::start(&after, &[]);
    std::fs::remove_file(&after).unwrap();
    assert_named(&agent, "deleted_after");
}

/// A new file at the path of a running one, as an upgrade leaves it: the old process keeps the old names.
#[test]
fn a_replaced_binary_keeps_its_own_names() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = burn_as(folder.path(), "upgraded");
    let _old = Running::start(&program, &[]);
    let image = compile_c(folder.path(), "img.c", &[]);
    std::fs::rename(image, &program).unwrap();
    let agent = agent();
    assert_named(&agent, "upgraded");
    let _new = Running::start(&program, &[]);
    wait_for(&agent, "upgraded", "<img src=x onerror=alert(1)>");
    assert_named(&agent, "upgraded");
}

/// The file is on a file system that no other mount namespace has.
#[test]
fn a_binary_in_another_mount_namespace_is_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = burn_as(folder.path(), "hidden");
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let script = "mount -t tmpfs none \"$2\" && cp \"$1\" \"$2\"/hidden && exec \"$2\"/hidden";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&program).arg(&place);
    let _hidden = Running::spawn(&mut unshare);
    let agent = agent();
    assert_named(&agent, "hidden");
    assert!(!place.join("hidden").exists(), "the file must not be visible here");
}

#[test]
fn a_binary_in_a_chroot_is_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "burn.c", &["-static"]);
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::fs::rename(program, folder.path().join("bin/in_chroot")).unwrap();
    let mut chroot = Command::new("chroot");
    let _inside = Running::spawn(chroot.arg(folder.path()).arg("/bin/in_chroot"));
    let agent = agent();
    assert_named(&agent, "in_chroot");
}

/// Ids inside a pid namespace are others than those of the host.
#[test]
fn a_process_in_a_pid_namespace_is_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = burn_as(folder.path(), "in_pid_namespace");
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(&program);
    let _inside = Running::spawn(&mut unshare);
    let agent = agent();
    assert_named(&agent, "in_pid_namespace");
    let inside = service(&agent, "in_pid_namespace").unwrap();
    let exe = std::fs::read_link(format!("/proc/{}/exe", inside.processes[0].0)).unwrap();
    assert_eq!(exe, program, "the pid is the host's");
}

/// Two programs, one after the other, with the same pid.
#[test]
fn a_reused_pid_is_another_process() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let first = burn_as(folder.path(), "first_of_pid");
    let second = compile_c(folder.path(), "img.c", &[]);
    let agent = agent();
    let (first_pid, second_pid) = same_pid(&first, &second);
    assert_eq!(first_pid, second_pid);
    wait_for(&agent, "first_of_pid", "alpha");
    let functions = wait_for(&agent, "img", "<img src=x onerror=alert(1)>");
    assert!(!functions.iter().any(|function| function.name == "alpha"), "{functions:#?}");
    for name in ["first_of_pid", "img"] {
        assert_eq!(service(&agent, name).unwrap().processes[0].0, first_pid, "{name}");
    }
    agent.metrics().assert_balance();
}

/// Runs two programs for a second of CPU each so that the second gets the pid of the first.
fn same_pid(first: &Path, second: &Path) -> (u32, u32) {
    for _ in 0..50 {
        let mut running = Running::start(first, &["1"]);
        let pid = running.pid();
        let _ = running.wait();
        drop(running);
        // The next pid that is given out comes after this one.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("the last pid can be set");
        let mut running = Running::start(second, &["1"]);
        if running.pid() == pid {
            let _ = running.wait();
            return (pid, pid);
        }
    }
    panic!("no pid was given out twice in fifty attempts");
}

#[test]
fn a_library_opened_later_is_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "dlopens.c", &["-ldl"]);
    let plugins = ["opened_first", "opened_second"].map(|name| compile_plugin(folder.path(), name));
    let agent = agent();
    let _running = Running::start(&program, &plugins.each_ref().map(|plugin| plugin.to_str().unwrap()));
    for name in ["opened_first", "opened_second", "own_burn"] {
        wait_for(&agent, "dlopens", name);
    }
    agent.metrics().assert_balance();
}

/// 20 ms each: none is there any more when the agent gets its samples.
#[test]
fn processes_that_died_are_named_and_are_one_service() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "storm.c", &[]);
    let agent = Agent::run(&["--frequency", "997", "--interval", "1s"]);
    let mut storm = Running::start(&program, &["3", "exec"]);
    let _ = storm.wait();
    let functions = wait_for(&agent, "storm", "storm_child");
    let whole: u64 = functions.iter().map(|function| function.self_ns).sum();
    let named = functions.iter().filter(|function| !function.name.contains("storm+0x"));
    let named: u64 = named.map(|function| function.self_ns).sum();
    assert!(named as f64 > 0.9 * whole as f64, "{named} of {whole} ns are named: {functions:#?}");
    // The last windows are still on their way.
    let until = Instant::now() + Duration::from_secs(30);
    while service(&agent, "storm").is_none_or(|storm| storm.processes.len() <= 50) {
        assert!(Instant::now() < until, "{:#?}", services(&agent, "now-1h"));
        std::thread::sleep(Duration::from_millis(200));
    }
    let all = services(&agent, "now-1h");
    assert_eq!(all.iter().filter(|service| service.name.contains("storm")).count(), 1, "{all:#?}");
    agent.metrics().assert_balance();
}

/// Exec gives a process another program, and both the right names.
#[test]
fn before_and_after_exec_are_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "execs.c", &[]);
    let next = burn_as(folder.path(), "after_exec");
    let agent = agent();
    let running = Running::start(&program, &[next.to_str().unwrap()]);
    let before = wait_for(&agent, "execs", "before_exec");
    assert_named(&agent, "after_exec");
    assert!(!before.iter().any(|function| function.name == "alpha"), "{before:#?}");
    let after = wait_for(&agent, "after_exec", "alpha");
    assert!(!after.iter().any(|function| function.name == "before_exec"), "{after:#?}");
    for name in ["execs", "after_exec"] {
        assert_eq!(service(&agent, name).unwrap().processes[0].0, running.pid(), "{name}");
    }
}

#[test]
fn kernel_threads_are_the_service_kernel() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::run(&["--frequency", "997", "--interval", "1s"]);
    let until = Instant::now() + Duration::from_secs(30);
    let kernel = loop {
        // Dirty pages to write back, and RCU callbacks.
        let file = folder.path().join("dirty");
        std::fs::write(&file, vec![1; 64 << 20]).unwrap();
        std::fs::File::open(&file).unwrap().sync_all().unwrap();
        std::fs::remove_file(&file).unwrap();
        if let Some(kernel) = service(&agent, "kernel") {
            break kernel;
        }
        assert!(Instant::now() < until, "no kernel thread in {:#?}", services(&agent, "now-1h"));
    };
    for (pid, name) in &kernel.processes {
        assert!(std::fs::read_link(format!("/proc/{pid}/exe")).is_err(), "{pid} {name} has an executable");
    }
    let all = services(&agent, "now-1h");
    assert!(!all.iter().any(|service| service.name.starts_with("kworker") || service.name.starts_with("ksoftirqd")));
}

#[test]
fn the_environment_names_the_service() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = burn_as(folder.path(), "plain_name");
    let with = |name: &str, value: &str| {
        let mut command = Command::new(&program);
        command.env_remove("OTEL_SERVICE_NAME").env_remove("OTEL_RESOURCE_ATTRIBUTES");
        Running::spawn(command.env(name, value))
    };
    let _running = [
        with("OTEL_SERVICE_NAME", "checkout"),
        with("OTEL_RESOURCE_ATTRIBUTES", "service.version=1,service.name=my%20shop"),
        with("OTEL_SERVICE_NAME", "a\u{1b}[31m\n<b>"),
    ];
    let agent = agent();
    for name in ["checkout", "my shop", "a?[31m?<b>"] {
        wait_for(&agent, name, "alpha");
    }
    assert!(service(&agent, "plain_name").is_none());
}

/// A process in the cgroup of a systemd service unit, in the hierarchy systemd itself uses.
#[test]
fn the_systemd_unit_names_the_service() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = burn_as(folder.path(), "not_the_unit");
    let hierarchy = systemd_hierarchy();
    let names = ["profiler-foo.service", "profiler-bar@7.service", "profiler-user.slice/session-9.scope"];
    let groups = names.map(|name| CgroupFolder::new(hierarchy.join(name)));
    let _running = groups.each_ref().map(|group| {
        let procs = group.0.join("cgroup.procs");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$1\" && exec \"$2\"", "sh"]).arg(procs).arg(&program);
        Running::spawn(command.process_group(0))
    });
    let agent = agent();
    for name in ["profiler-foo", "profiler-bar", "not_the_unit"] {
        wait_for(&agent, name, "alpha");
    }
}

/// Where systemd keeps its units: the unified hierarchy, or its own of version 1 on older and hybrid hosts.
fn systemd_hierarchy() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = |wanted: &str| {
        let line = mounts.lines().find(|line| line.split_once(" - ").is_some_and(|(_, right)| right.contains(wanted)));
        line.and_then(|line| line.split(' ').nth(4)).map(PathBuf::from)
    };
    point("name=systemd").or_else(|| point("cgroup2 ")).expect("a cgroup hierarchy that systemd could use is mounted")
}

/// A cgroup, removed with its last process.
struct CgroupFolder(PathBuf);

impl CgroupFolder {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }
}

impl Drop for CgroupFolder {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                // The slice around it; the top of the hierarchy cannot be removed.
                let _ = self.0.parent().map(std::fs::remove_dir);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn processes_of_one_program_are_one_service() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = burn_as(folder.path(), "twice");
    let running = [0, 1].map(|_| Running::start(&program, &[]));
    let agent = agent();
    let until = Instant::now() + Duration::from_secs(30);
    let pids: BTreeSet<u32> = running.iter().map(Running::pid).collect();
    loop {
        let all: Vec<Service> = services(&agent, "now-1h").into_iter().filter(|s| s.name.contains("twice")).collect();
        assert!(all.len() <= 1, "{all:#?}");
        let found: BTreeSet<u32> = all.iter().flat_map(|s| &s.processes).map(|(pid, _)| *pid).collect();
        if found == pids {
            break;
        }
        assert!(Instant::now() < until, "{all:#?} has not {pids:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A script is called by its own name, not by that of its interpreter.
#[test]
fn a_script_names_the_service() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("busy.sh");
    std::fs::write(&script, "while :; do :; done\n").unwrap();
    let _running = Running::spawn(Command::new("sh").arg(&script));
    let agent = agent();
    let until = Instant::now() + Duration::from_secs(30);
    while service(&agent, "busy.sh").is_none() {
        assert!(Instant::now() < until, "{:#?}", services(&agent, "now-1h"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The whole stack of a process is from its own files, also when its parent has forked many.
#[test]
fn a_recording_of_the_host_has_whole_stacks() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = burn_as(folder.path(), "whole");
    let _running = Running::start(&program, &[]);
    let recorded = Recorded::new(&["--frequency", "997", "--duration", "3s"]);
    let all = recorded.samples(|stack| stack[0] == "whole");
    let whole = recorded
        .samples(|stack| stack[0] == "whole" && stack.windows(2).any(|pair| pair[0] == "main" && pair[1] == "work"));
    println!("{whole} of {all} stacks are whole");
    assert!(all > 500 && whole as f64 > 0.98 * all as f64, "{whole} of {all}: {:#?}", recorded.stacks);
}
