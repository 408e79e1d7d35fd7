//! Functions of the kernel: named as the kernel does, or not at all.

use profiler_tests::agent::{Agent, binary};
use profiler_tests::page_api::{functions, wait_for_function};
use profiler_tests::recorded::is_named;
use profiler_tests::workload::Running;
use std::process::Command;
use std::sync::Mutex;

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A program that is nearly always in the kernel.
fn copier() -> Running {
    Running::spawn(Command::new("dd").args(["if=/dev/zero", "of=/dev/null", "bs=1M"]))
}

#[test]
fn functions_of_the_kernel_have_names() {
    let _alone = ONE_AT_A_TIME.lock();
    let running = copier();
    let agent = Agent::run(&["--frequency", "99", "--interval", "1s", "--pid", &running.pid().to_string()]);
    let found = wait_for_function(&agent, "dd", |function| function.name.ends_with("sys_read"));
    let in_kernel: Vec<_> = found.iter().filter(|function| function.kind == "kernel").collect();
    assert!(in_kernel.iter().all(|function| is_named(&function.name) && function.module == "[kernel]"), "{found:#?}");
}

/// Zeros instead of addresses name nothing: neither a wrong function nor an address.
#[test]
fn without_addresses_the_kernel_is_one_function() {
    let _alone = ONE_AT_A_TIME.lock();
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap();
    assert!(
        paranoid.trim().parse::<i32>().unwrap() > 1,
        "`sysctl kernel.perf_event_paranoid=2`, else nothing is hidden"
    );
    let running = copier();
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--bounding-set=-syslog,-sys_admin", "--inh-caps=-syslog,-sys_admin"]).arg(binary());
    setpriv.args(["run", "--frequency", "99", "--interval", "1s", "--pid", &running.pid().to_string()]);
    let agent = Agent::start(&mut setpriv);
    wait_for_function(&agent, "dd", |function| function.name == "[kernel]");
    let found = functions(&agent, "dd", "now-1h");
    assert!(found.iter().filter(|function| function.kind == "kernel").all(|function| function.name == "[kernel]"));
    assert!(agent.metrics().get("profiler_frames_unresolved_total{reason=\"kallsyms_hidden\"}") >= 1.0);
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("grant CAP_SYSLOG").count(), 1, "{log}");
}
