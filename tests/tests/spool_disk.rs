//! Disks that are full, read-only or damaged: windows go on in memory, and nothing is lost that there is room for.

use profiler_tests::proxy::{Fault, Proxy};
use profiler_tests::pyroscope::Pyroscope;
use profiler_tests::spooling::{EXPORTED, PATIENCE, SPOOLED, Spooling, agrees, dropped, settled};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ERRORS: &str = "profiler_spool_errors_total";

/// Something mounted; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(arguments: &[&str], path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        mount(arguments, path);
        Self(path.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], path: &Path) {
    let status = Command::new("mount").args(arguments).arg(path).status().expect("mount");
    assert!(status.success(), "mount {arguments:?} {}", path.display());
}

/// The agent, which cannot override it, may no longer write to the folder; or may again.
fn allow_writing(folder: &Path, allowed: bool) {
    let (owner, mode) = if allowed { (0, 0o700) } else { (1, 0o555) };
    std::os::unix::fs::chown(folder, Some(owner), None).unwrap();
    std::fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
}

/// A disk too small for the outage, then a folder without permission, then both well again.
#[test]
fn full_disks_and_folders_without_permission_cost_what_finds_no_room_and_are_counted() {
    let server = Pyroscope::start();
    let mut proxy = Proxy::start(&server.address);
    let mut spooling = Spooling::new(&proxy.url());
    let _disk = Mount::new(&["-t", "tmpfs", "-o", "size=128k", "tmpfs"], &spooling.spool);
    // Room for more than the disk has: it is the disk that is full.
    spooling.arguments.extend(["--spool-max-bytes", "64MiB"].map(str::to_owned));
    let agent = spooling.start();
    agent.balances_until("exports", PATIENCE, |metrics| metrics.get(EXPORTED) > 0.0);
    proxy.turn(Fault::Refuse);
    let full = agent.balances_until("the disk is full", PATIENCE, |metrics| metrics.get(&dropped("spool_full")) > 0.0);
    println!("{} samples spooled, {} had to go", full.get(SPOOLED), full.get(&dropped("spool_full")));
    assert!(full.get(SPOOLED) > 0.0, "the disk holds what it can");

    mount(&["-o", "remount,size=64m"], &spooling.spool);
    allow_writing(&spooling.spool, false);
    let before = agent.metrics();
    agent.balances_until("the disk refuses", PATIENCE, |metrics| metrics.sum(ERRORS) > before.sum(ERRORS));
    let (refused, _) = agent.balances_for(Duration::from_secs(5));
    assert!(refused.taken() > before.taken() + 3000.0, "sampling goes on");
    let lost = refused.get(&dropped("spool_full"));

    allow_writing(&spooling.spool, true);
    agent.balances_until("what was in memory is on the disk", PATIENCE, |metrics| {
        metrics.get(SPOOLED) > before.get(SPOOLED) + 3000.0
    });
    proxy.turn(Fault::None);
    spooling.freeze();
    let at_rest = settled(&agent);
    assert_eq!(at_rest.get(&dropped("spool_full")), lost, "memory has room");
    assert_eq!(at_rest.sum("profiler_samples_dropped_total"), lost, "nothing went for another reason");
    assert_eq!(at_rest.get(EXPORTED) + lost, at_rest.taken());
    agrees(&server, &at_rest);
    let last = agent.ends_well();
    assert!(last.stderr.contains("spool fails; windows stay in memory"), "{}", last.stderr);
    assert!(last.stderr.contains("the spool works again"), "{}", last.stderr);
}

#[test]
fn a_read_only_disk_keeps_nobody_from_sampling() {
    let server = Pyroscope::start();
    let spooling = Spooling::new(&server.url());
    let _bind = Mount::new(&["--bind", &spooling.spool.display().to_string()], &spooling.spool);
    mount(&["-o", "remount,bind,ro"], &spooling.spool);
    let agent = spooling.start();
    agent.balances_until("exports", PATIENCE, |metrics| metrics.get(EXPORTED) > 0.0);
    assert_eq!(agent.metrics().get("profiler_spool_errors_total{operation=\"open\"}"), 1.0);
    let last = agent.ends_well();
    assert!(last.stderr.contains("spool cannot be used; windows stay in memory"), "{}", last.stderr);
}

#[test]
fn a_spool_that_is_none_or_another_agents_is_said_at_the_start() {
    let mut spooling = Spooling::new("http://127.0.0.1:9");
    let run = |spooling: &Spooling| {
        let output = spooling.command().args(["--listen", "off"]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let agent = spooling.start();
    let (code, stderr) = run(&spooling);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("is in use by another process"), "{stderr}");
    drop(agent);

    spooling.spool = spooling.folder().join("file");
    std::fs::write(&spooling.spool, "").unwrap();
    let (code, stderr) = run(&spooling);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cannot use the spool in"), "{stderr}");
}

/// Bytes of the spool change while no agent runs: what they touch is lost and counted, the rest arrives.
#[test]
fn a_damaged_window_costs_its_records_alone() {
    let server = Pyroscope::start();
    let mut proxy = Proxy::start(&server.address);
    let spooling = Spooling::new(&proxy.url());
    proxy.turn(Fault::Refuse);
    let agent = spooling.start();
    agent.balances_until("windows", PATIENCE, |metrics| metrics.get(SPOOLED) > 4000.0);
    let last = agent.last_word();
    let mut windows: Vec<PathBuf> = std::fs::read_dir(&spooling.spool)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "window"))
        .collect();
    windows.sort();
    assert!(windows.len() >= 3, "{windows:?}");
    let mut bytes = std::fs::read(&windows[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&windows[1], bytes).unwrap();
    std::fs::remove_file(&windows[2]).unwrap();

    proxy.turn(Fault::None);
    spooling.freeze();
    let agent = spooling.start();
    let at_rest = settled(&agent);
    let lost = at_rest.get(&dropped("spool_lost"));
    println!("{lost} of {} samples lost with two windows of {}", last.spooled, windows.len());
    assert!(lost > 0.0 && lost < last.spooled as f64 / 2.0 + 2000.0, "{lost} samples lost");
    assert!(at_rest.get("profiler_spool_errors_total{operation=\"damaged\"}") >= 1.0);
    assert_eq!(at_rest.get(EXPORTED) + lost, at_rest.taken());
    agrees(&server, &at_rest);
    agent.ends_well();
}
