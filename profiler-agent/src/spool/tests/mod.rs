//! What a spool keeps, on real files, on files that are damaged and on disks that fail.

mod damage;
mod faults;
mod folder;
mod golden;
mod history;
mod states;

use super::{Appended, Counts, MAX_PART_BYTES, MAX_PARTS, NewPart, PartId, SpoolError, Store, StoredPart};
use crate::fuzz::MemoryDisk;

/// A part whose body tells it from others.
fn part(name: &str, bytes: usize) -> NewPart {
    let body = name.bytes().cycle().take(bytes).collect::<Vec<_>>().into();
    NewPart { body, samples: bytes as u64, start_unix_ns: 1_700_000_000_000_000_000, end_unix_ns: u64::MAX }
}

fn id(window: u64, index: u32) -> PartId {
    PartId { window, index }
}

fn ids(parts: &[StoredPart]) -> Vec<(u64, u32)> {
    parts.iter().map(|part| (part.id.window, part.id.index)).collect()
}

fn open(disk: &MemoryDisk, max_bytes: u64) -> Store {
    Store::open_with(Box::new(disk.clone()), max_bytes).unwrap().0
}

/// Windows of one part with a body of 44 bytes: a file of 132 bytes.
fn append_small(store: &mut Store, count: u64) -> Vec<Appended> {
    (0..count).map(|number| store.append(&[part(&format!("part {number};"), 44)]).unwrap()).collect()
}

#[test]
fn what_was_appended_is_read_after_a_restart() {
    let disk = MemoryDisk::default();
    let parts = [part("a", 10), part("b", 0), part("c", 200_000)];
    let appended = open(&disk, 1 << 20).append(&parts).unwrap();
    assert_eq!(ids(&appended.stored), [(1, 0), (1, 1), (1, 2)]);
    let (mut store, recovered) = Store::open_with(Box::new(disk), 1 << 20).unwrap();
    assert_eq!(recovered.parts, appended.stored);
    assert_eq!(store.bytes(), 32 + 3 * 56 + 200_010);
    for (stored, part) in recovered.parts.iter().zip(&parts) {
        assert_eq!(store.read(stored.id).unwrap(), part.body);
        assert_eq!((stored.samples, stored.bytes), (part.samples, part.body.len() as u64));
        assert_eq!((stored.start_unix_ns, stored.end_unix_ns), (1_700_000_000_000_000_000, u64::MAX));
    }
}

#[test]
fn the_oldest_windows_go_and_those_in_flight_stay() {
    let mut store = open(&MemoryDisk::default(), 3 * 132);
    append_small(&mut store, 3);
    store.set_in_flight(&[id(1, 0)]);
    let evicted = append_small(&mut store, 2).into_iter().flat_map(|appended| appended.evicted).collect::<Vec<_>>();
    assert_eq!(ids(&evicted), [(2, 0), (3, 0)]);
    assert_eq!(store.bytes(), 3 * 132);
    assert!(matches!(store.read(id(2, 0)), Err(SpoolError::Missing { .. })));
    assert!(store.read(id(1, 0)).is_ok());
}

#[test]
fn what_cannot_fit_evicts_nothing() {
    let mut store = open(&MemoryDisk::default(), 400);
    append_small(&mut store, 2);
    store.set_in_flight(&[id(1, 0)]);
    let error = store.append(&[part("large", 300)]).unwrap_err();
    assert_eq!(error.to_string(), "388 bytes do not fit into the spool: at most 268");
    assert_eq!(error.evicted, []);
    assert_eq!(store.bytes(), 2 * 132);
}

#[test]
fn more_than_a_window_may_hold_is_refused() {
    let mut store = open(&MemoryDisk::default(), u64::MAX);
    let many = vec![part("", 0); MAX_PARTS + 1];
    assert!(matches!(store.append(&many).unwrap_err().error, SpoolError::TooLarge { .. }));
    let large = part("x", MAX_PART_BYTES + 1);
    assert!(matches!(store.append(&[large]).unwrap_err().error, SpoolError::TooLarge { .. }));
    assert_eq!(store.append(&[]).unwrap(), Appended::default());
    assert_eq!(store.bytes(), 0);
}

#[test]
fn a_window_goes_when_all_of_it_ended_and_that_is_saved() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    store.append(&[part("a", 10), part("b", 10)]).unwrap();
    store.end(id(1, 0));
    store.save(&Counts::default(), false).unwrap();
    assert!(disk.get("0000000000000001.window").is_some());
    store.end(id(1, 1));
    assert!(matches!(store.read(id(1, 1)), Err(SpoolError::Missing { .. })));
    assert!(disk.get("0000000000000001.window").is_some());
    store.save(&Counts::default(), false).unwrap();
    assert_eq!(disk.get("0000000000000001.window"), None);
    assert_eq!(store.bytes(), 0);
}

#[test]
fn a_part_that_ended_does_not_come_back() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    store.append(&[part("a", 10), part("b", 10)]).unwrap();
    store.end(id(1, 0));
    store.save(&Counts::default(), false).unwrap();
    let (_, recovered) = Store::open_with(Box::new(disk), 1 << 20).unwrap();
    assert_eq!(ids(&recovered.parts), [(1, 1)]);
    let state = recovered.state.unwrap();
    assert_eq!((state.ended, state.next_window), (vec![id(1, 0)], 2));
}

#[test]
fn numbers_of_windows_are_never_given_twice() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    append_small(&mut store, 3);
    (1..=3).for_each(|window| store.end(id(window, 0)));
    store.save(&Counts::default(), true).unwrap();
    disk.put("00000000000000ff.tmp", b"");
    assert_eq!(ids(&append_small(&mut open(&disk, 1 << 20), 1)[0].stored), [(256, 0)]);
}
