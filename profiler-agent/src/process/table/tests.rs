use super::*;
use crate::bpf::monotonic_ns;
use crate::process::{Naming, proc};
use profiler_common::record::EXIT;
use zerocopy::FromZeros as _;

const FILE: FileKey = FileKey { device: 1, inode: 2 };

fn table() -> ProcessTable {
    ProcessTable::new(Executables::new(Arc::default()), Naming::new(Vec::new()))
}

/// This process, which `/proc` knows.
fn own() -> ProcessKey {
    let tgid = std::process::id();
    ProcessKey { tgid, start_ns: proc::start_ticks(tgid).unwrap() * 10_000_000 }
}

/// This process, of which events have told that it runs something with one mapping, at 0x7000.
fn executed() -> (ProcessTable, ProcessKey) {
    let (mut table, key) = (table(), own());
    table.process_event(&event(FORK, key, NOBODY));
    assert_eq!(table.exec(&ExecEvent { time_ns: 1, tgid: key.tgid }), Some(key));
    assert!(map(&mut table, key, 0x7000));
    (table, key)
}

fn event(kind: u32, key: ProcessKey, parent: ProcessKey) -> ProcessEvent {
    ProcessEvent {
        kind,
        tgid: key.tgid,
        start_ns: key.start_ns,
        parent_tgid: parent.tgid,
        parent_start_ns: parent.start_ns,
        ..ProcessEvent::new_zeroed()
    }
}

fn map(table: &mut ProcessTable, key: ProcessKey, start: u64) -> bool {
    let path = Arc::from("/nowhere");
    let (FileKey { device, inode }, end) = (FILE, start + 0x1000);
    table.mmap(MmapEvent { time_ns: 1, tgid: key.tgid, start, end, file_offset: 0, device, inode, path }).is_some()
}

fn starts(table: &mut ProcessTable, key: ProcessKey) -> Vec<u64> {
    let mut starts = Vec::new();
    table.each_mapping(key, |mapping, _| starts.push(mapping.start));
    starts
}

const NOBODY: ProcessKey = ProcessKey { tgid: 0, start_ns: 0 };

#[test]
fn what_events_told_since_exec_is_not_read_again() {
    let (mut table, key) = executed();
    table.identity(key, None, 2, 0);
    assert_eq!(starts(&mut table, key), [0x7000]);
}

#[test]
fn a_process_whose_parent_is_not_known_is_read() {
    let (mut table, key) = (table(), own());
    table.process_event(&event(FORK, key, NOBODY));
    assert!(map(&mut table, key, 0x7000));
    table.identity(key, None, 2, 0);
    let seen = starts(&mut table, key);
    assert!(seen.len() > 2 && !seen.contains(&0x7000), "{seen:x?}");
}

#[test]
fn one_look_makes_up_for_all_losses_before_it() {
    let (mut table, key) = executed();
    table.events_lost(monotonic_ns());
    assert_eq!(table.mappings_number(key, 2), 0);
    assert!(table.user_address(key, 0x7000, 2).is_none());
    assert!(!starts(&mut table, key).contains(&0x7000));
    // What was lost before the look is known by it.
    assert!(map(&mut table, key, 0x7000));
    table.events_lost(5);
    assert!(table.user_address(key, 0x7000, 3).is_some());
    assert_ne!(table.mappings_number(key, 3), 0);
}

#[test]
fn children_have_what_their_parents_had() {
    let (mut table, parent) = executed();
    // Nobody has this pid.
    let child = ProcessKey { tgid: 1 << 30, start_ns: 7 };
    table.process_event(&event(FORK, child, parent));
    assert!(map(&mut table, parent, 0x9000) && map(&mut table, child, 0xa000));
    assert_eq!(starts(&mut table, child), [0x7000, 0xa000]);
    table.identity(child, None, 2, 0);
    assert!(!table.process_event(&event(EXIT, child, NOBODY)));
    assert!(table.contains(child) && !map(&mut table, child, 0xb000));
}

#[test]
fn what_ends_without_a_sample_is_forgotten() {
    let (mut table, parent) = executed();
    let child = ProcessKey { tgid: 1 << 30, start_ns: 7 };
    table.process_event(&event(FORK, child, parent));
    assert!(table.process_event(&event(EXIT, child, NOBODY)));
    assert!(!table.contains(child) && table.contains(parent));
}

#[test]
fn a_pid_that_was_given_anew_is_another_process() {
    let (mut table, parent) = executed();
    let [first, second] = [7, 8].map(|start_ns| ProcessKey { tgid: 1 << 30, start_ns });
    table.process_event(&event(FORK, first, parent));
    table.identity(first, None, 2, 0);
    table.process_event(&event(FORK, second, NOBODY));
    // The end of the first is told late.
    table.process_event(&event(EXIT, first, NOBODY));
    assert!(map(&mut table, second, 0xa000));
    assert_eq!((starts(&mut table, first), starts(&mut table, second)), (vec![0x7000], vec![0xa000]));
}
