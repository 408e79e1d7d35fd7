//! A process can not make the agent read a file that it could not name itself, nor wait for one, nor read one without an
//! end: what lies where the agent looks for names of code may be a link, a fifo, a device or larger than any disk.

use profiler_tests::agent::Agent;
use profiler_tests::page_api::{functions, wait_for, wait_for_function};
use profiler_tests::workload::{Running, compile_c, run};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const MAX_RSS_KIB: u64 = 200 << 10;
/// In a file that no process here can name.
const STOLEN: &str = "stolen";

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A perf map that gives one name to all that may be mapped below the stack. Whoever reads it shows it.
fn map_of_everything(name: &str) -> String {
    (0x7d00_u64..0x8000).map(|start| format!("{start:x}00000000 ffffffff {name}\n")).collect()
}

/// Programs, and a file that none of their processes may lead the agent to.
struct Stage {
    folder: TempDir,
    jit: PathBuf,
    secret: PathBuf,
}

impl Stage {
    fn new() -> Self {
        // Not in `/tmp`, which is where maps are.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let jit = compile_c(folder.path(), "jit.c", &["-static"]);
        let secret = folder.path().join("secret");
        fs::write(&secret, map_of_everything(STOLEN)).unwrap();
        Self { folder, jit, secret }
    }

    /// Makes code at run time and says nothing about it itself.
    fn silent(&self, name: &str) -> Silent {
        let program = self.folder.path().join(name);
        fs::copy(&self.jit, &program).unwrap();
        let running = Running::start(&program, &["-", name, "silent"]);
        let map = PathBuf::from(format!("/tmp/perf-{}.map", running.pid()));
        Silent { _running: running, map }
    }
}

/// A process without a map of its own, and where the agent looks for it.
struct Silent {
    _running: Running,
    map: PathBuf,
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.map);
    }
}

/// Ends what goes on until then, however a test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn agent() -> Agent {
    Agent::run(&["--frequency", "99", "--interval", "1s"])
}

/// The agent is well, small, and has read nothing that it should not.
#[track_caller]
fn assert_well(agent: &Agent) {
    agent.metrics().assert_balance();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < MAX_RSS_KIB, "the agent has used {kib} KiB");
    let stolen = functions(agent, "", "now-1h").into_iter().find(|function| function.name.contains(STOLEN));
    assert!(stolen.is_none(), "the agent has read what the process could not: {stolen:?}");
}

#[test]
fn what_is_no_file_in_place_of_a_perf_map_is_left_alone() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let link = stage.silent("link");
    symlink(&stage.secret, &link.map).unwrap();
    let fifo = stage.silent("fifo");
    run(Command::new("mkfifo").arg(&fifo.map));
    let device = stage.silent("device");
    run(Command::new("mknod").arg(&device.map).args(["c", "1", "5"]));
    let folder = stage.silent("folder");
    fs::create_dir(&folder.map).unwrap();
    let endless = stage.silent("endless");
    File::create(&endless.map).unwrap().set_len(1 << 40).unwrap();
    let honest = stage.silent("honest");
    fs::write(&honest.map, map_of_everything("own_name")).unwrap();
    let agent = agent();
    for name in ["link", "fifo", "device", "folder", "endless"] {
        wait_for_function(&agent, name, |function| function.name.starts_with("[anon]"));
    }
    wait_for(&agent, "honest", "own_name");
    assert_well(&agent);
    fs::remove_dir(&folder.map).unwrap();
    let (status, stderr) = agent.stop();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

/// The name leads to the process's own map one moment, and to another file the next.
#[test]
fn a_name_that_changes_all_the_time_never_leads_elsewhere() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let racing = stage.silent("racing");
    let stop = AtomicBool::new(false);
    let agent = agent();
    std::thread::scope(|scope| {
        let _at_the_end = Stop(&stop);
        scope.spawn(|| {
            let own = map_of_everything("own_name");
            let (good, bad) = (racing.map.with_extension("good"), racing.map.with_extension("bad"));
            for turn in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // New each time: a map that was looked at already is not opened again.
                fs::write(&good, format!("{own}# {turn}\n")).unwrap();
                symlink(&stage.secret, &bad).unwrap();
                fs::rename(&bad, &racing.map).unwrap();
                fs::rename(&good, &racing.map).unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        wait_for(&agent, "racing", "own_name");
        std::thread::sleep(Duration::from_secs(8));
    });
    assert_well(&agent);
}

/// `/tmp` of a process is a link that, seen from the host, leads to a folder of the host.
#[test]
fn links_of_a_process_lead_nowhere_on_the_host() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let (root, host) = (stage.folder.path().join("root"), stage.folder.path().join("host"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&host).unwrap();
    fs::copy(&stage.jit, root.join("contained")).unwrap();
    symlink(&host, root.join("tmp")).unwrap();
    let mut chroot = Command::new("chroot");
    let contained = Running::spawn(chroot.arg(&root).args(["/contained", "-", "contained", "silent"]));
    fs::write(host.join(format!("perf-{}.map", contained.pid())), map_of_everything(STOLEN)).unwrap();
    let agent = agent();
    wait_for_function(&agent, "contained", |function| function.name.starts_with("[anon]"));
    assert_well(&agent);
}

/// A program in a root of its own says that its debug info is beside it. On the host there is such a file, not there.
#[test]
fn debug_links_of_a_process_lead_nowhere_on_the_host() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let host = stage.folder.path().join("host");
    fs::create_dir(&host).unwrap();
    let built = compile_c(&host, "burn.c", &["-static", "-g", "-Wl,--build-id"]);
    let debug = host.join("burn.debug");
    run(Command::new("objcopy").arg("--only-keep-debug").args([&built, &debug]));
    run(Command::new("objcopy").arg("--strip-all").arg(&built));
    run(Command::new("objcopy").arg("--add-gnu-debuglink").args([&debug, &built]));
    let root = stage.folder.path().join("root");
    let inside = below(&root, &host);
    fs::create_dir_all(&inside).unwrap();
    fs::copy(&built, inside.join("contained")).unwrap();
    let _contained = Running::spawn(Command::new("chroot").arg(&root).arg(host.join("contained")));
    let free = host.join("free");
    fs::copy(&built, &free).unwrap();
    let _free = Running::start(&free, &[]);
    let agent = agent();
    // The very same program, where it can name the file itself.
    wait_for(&agent, "free", "alpha");
    let found = wait_for_function(&agent, "contained", |function| function.name.starts_with("contained+0x"));
    assert!(found.iter().all(|function| function.name != "alpha"), "{found:#?}");
    assert_well(&agent);
    // Below its own root it counts.
    fs::copy(&debug, inside.join("burn.debug")).unwrap();
    let _again = Running::spawn(Command::new("chroot").arg(&root).arg(copy(&root, &host, "again")));
    wait_for(&agent, "again", "alpha");
}

/// The place that a process with this root calls `path`.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

/// Another file of the same program.
fn copy(root: &Path, host: &Path, name: &str) -> PathBuf {
    let path = host.join(name);
    fs::copy(host.join("burn"), below(root, &path)).unwrap();
    path
}
