//! Window files that are not what they were.

use super::{id, ids, open, part};
use crate::fuzz::MemoryDisk;
use crate::spool::window::{HEADER_BYTES, Header, RECORD_BYTES};
use crate::spool::{Counts, PartId, Recovered, Store};
use bytes::Bytes;

const WINDOW: &str = "0000000000000001.window";
/// Bytes of the bodies: one of them is empty.
const BODIES: [usize; 4] = [100, 0, 37, 300];

/// A window of four parts.
fn window() -> Vec<u8> {
    let disk = MemoryDisk::default();
    let parts: Vec<_> = BODIES.iter().map(|bytes| part(&format!("{bytes}."), *bytes)).collect();
    open(&disk, 1 << 20).append(&parts).unwrap();
    disk.get(WINDOW).unwrap()
}

/// Where each record begins, and the end.
fn borders() -> Vec<usize> {
    let mut borders = vec![HEADER_BYTES];
    for bytes in BODIES {
        borders.push(borders[borders.len() - 1] + RECORD_BYTES + bytes);
    }
    borders
}

/// What comes back of these bytes; each part that does is the one that it was.
fn read(bytes: &[u8]) -> (Recovered, Vec<PartId>) {
    let disk = MemoryDisk::with(WINDOW, bytes);
    let (mut store, recovered) = Store::open_with(Box::new(disk.clone()), 1 << 20).unwrap();
    for stored in &recovered.parts {
        let size = BODIES[stored.id.index as usize];
        let expected = part(&format!("{size}."), size);
        assert_eq!((store.read(stored.id).unwrap(), stored.samples), (expected.body, expected.samples));
    }
    let again = Store::open_with(Box::new(disk), 1 << 20).unwrap().1;
    assert_eq!((&again.parts, again.corrupt_records), (&recovered.parts, 0));
    let ids = recovered.parts.iter().map(|part| part.id).collect();
    (recovered, ids)
}

#[test]
fn a_window_cut_at_any_byte_keeps_the_records_before() {
    let (bytes, borders) = (window(), borders());
    assert_eq!(bytes.len(), borders[4]);
    for end in 0..bytes.len() {
        let whole = borders[1..].iter().filter(|border| **border <= end).count();
        for tail in [0, bytes.len() - end] {
            // Cut off, or not written where the file had its size already.
            let (recovered, ids) = read(&[&bytes[..end], &vec![0; tail][..]].concat());
            assert_eq!(ids, (0..whole as u32).map(|index| id(1, index)).collect::<Vec<_>>(), "cut at {end}");
            // The header's last bytes are zero as they are.
            let header = if tail == 0 { end >= HEADER_BYTES } else { end >= 25 };
            let lost = if header { 4 - whole as u64 } else { 1 };
            assert_eq!(recovered.corrupt_records, lost, "cut at {end}");
        }
    }
}

#[test]
fn a_byte_that_changed_costs_its_record_alone() {
    let (bytes, borders) = (window(), borders());
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            let hit = borders.windows(2).position(|record| (record[0]..record[1]).contains(&at));
            let kept = (0..4).filter(|index| Some(*index) != hit).map(|index| id(1, index as u32));
            let (recovered, ids) = read(&damaged);
            assert_eq!(ids, kept.collect::<Vec<_>>(), "byte {at}");
            assert_eq!(recovered.corrupt_records, u64::from(hit.is_some()), "byte {at}");
        }
    }
}

#[test]
fn bytes_that_vanished_or_came_cost_what_they_touch() {
    let (bytes, borders) = (window(), borders());
    for at in HEADER_BYTES..bytes.len() {
        let hit = borders.windows(2).position(|record| (record[0]..record[1]).contains(&at)).unwrap();
        let missing = [&bytes[..at], &bytes[at + 1..]].concat();
        let (_, ids) = read(&missing);
        let missed: Vec<_> = (0..4).filter(|index| !ids.contains(&id(1, *index))).collect();
        // The next record begins within the damaged one, which was as long as it says.
        assert!(missed.iter().all(|index| (hit..=hit + 1).contains(&(*index as usize))), "byte {at}: {missed:?}");
    }
}

#[test]
fn damage_to_what_had_ended_is_no_loss() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    store.append(&[part("a", 10), part("b", 10)]).unwrap();
    store.end(id(1, 0));
    store.save(&Counts::default(), true).unwrap();
    let mut bytes = disk.get(WINDOW).unwrap();
    bytes[HEADER_BYTES + 20] ^= 1;
    disk.put(WINDOW, &bytes);
    let recovered = Store::open_with(Box::new(disk), 1 << 20).unwrap().1;
    assert_eq!((ids(&recovered.parts), recovered.corrupt_records), (vec![(1, 1)], 0));
}

#[test]
fn damage_at_run_time_is_found_by_reading() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    store.append(&[part("a", 10), part("b", 10)]).unwrap();
    let mut bytes = disk.get(WINDOW).unwrap();
    bytes[HEADER_BYTES + RECORD_BYTES] ^= 1;
    disk.put(WINDOW, &bytes);
    assert_eq!(store.read(id(1, 0)).unwrap_err().to_string(), "part 0 of window 1 in the spool is damaged");
    assert_eq!(store.read(id(1, 1)).unwrap(), part("b", 10).body);
    disk.put(WINDOW, &bytes[..60]);
    assert_eq!(store.read(id(1, 1)).unwrap_err().to_string(), "part 1 of window 1 in the spool is damaged");
}

#[test]
fn windows_of_other_versions_and_under_other_names_are_left_alone() {
    let bytes = window();
    let later = Header { version: 2, window: 1, records: 4 }.encode();
    let later = [&later[..], &bytes[HEADER_BYTES..]].concat();
    for (name, bytes) in [(WINDOW, &later), ("0000000000000002.window", &bytes)] {
        let disk = MemoryDisk::with(name, bytes);
        let recovered = Store::open_with(Box::new(disk.clone()), 1 << 20).unwrap().1;
        assert_eq!((recovered.parts.len(), recovered.left_alone, recovered.corrupt_records), (0, 1, 0));
        assert_eq!(disk.get(name).as_ref(), Some(bytes));
    }
}

#[test]
fn a_record_within_a_body_is_no_record() {
    let disk = MemoryDisk::default();
    let inner = Bytes::from(window());
    let mut store = open(&disk, 1 << 20);
    store.append(&[super::NewPart { body: inner, ..part("", 0) }]).unwrap();
    let mut bytes = disk.get(WINDOW).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let recovered = Store::open_with(Box::new(MemoryDisk::with(WINDOW, &bytes)), 1 << 20).unwrap().1;
    assert_eq!((recovered.parts.len(), recovered.corrupt_records), (0, 1));
}
