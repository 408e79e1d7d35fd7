//! The state file.

use super::{append_small, id, open, part};
use crate::fuzz::MemoryDisk;
use crate::spool::state::{MAX_PAYLOAD_BYTES, SLOT_BYTES, SLOTS};
use crate::spool::{Counts, SpoolError, State, Store};

fn counts(number: u64) -> Counts {
    let dropped = [("backlog_full".to_owned(), number), ("killed".to_owned(), 1)].into();
    Counts { taken: number, dropped, gap_seconds: 1.5, in_flight: vec![id(number, 2)], ..Counts::default() }
}

fn state(disk: &MemoryDisk) -> Option<State> {
    Store::open_with(Box::new(disk.clone()), 1 << 20).unwrap().1.state
}

#[test]
fn the_state_saved_last_counts() {
    let disk = MemoryDisk::default();
    assert_eq!(state(&disk), None);
    let mut store = open(&disk, 1 << 20);
    for number in 1..=10 {
        store.save(&counts(number), number % 3 == 0).unwrap();
        let state = state(&disk).unwrap();
        assert_eq!(state.counts, counts(number));
        assert_eq!(state.boot_id.len(), 36);
    }
    assert_eq!(disk.get("state").unwrap().len(), SLOTS * SLOT_BYTES);
}

#[test]
fn a_torn_slot_costs_only_the_state_that_it_held() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    (1..=2).for_each(|number| store.save(&counts(number), false).unwrap());
    let before = disk.get("state").unwrap();
    store.save(&counts(3), false).unwrap();
    let after = disk.get("state").unwrap();
    let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    for torn in first..=last {
        let bytes = [&after[..torn], &before[torn..]].concat();
        assert_eq!(state(&MemoryDisk::with("state", &bytes)).unwrap().counts, counts(2), "torn at {torn}");
        let mut flipped = after.clone();
        flipped[torn] ^= 0x10;
        assert_eq!(state(&MemoryDisk::with("state", &flipped)).unwrap().counts, counts(2), "flipped at {torn}");
    }
}

#[test]
fn a_state_file_cut_anywhere_is_read_as_far_as_it_goes() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    (1..=3).for_each(|number| store.save(&counts(number), false).unwrap());
    let bytes = disk.get("state").unwrap();
    let mut found = 0;
    for end in (0..bytes.len()).filter(|end| end % SLOT_BYTES < 600) {
        let now = state(&MemoryDisk::with("state", &bytes[..end])).map_or(0, |state| state.counts.taken);
        assert!((found..=3).contains(&now), "cut at {end}: {now} after {found}");
        found = now;
    }
    assert_eq!(found, 3);
}

#[test]
fn fields_of_other_releases_do_not_matter() {
    let disk = MemoryDisk::default();
    open(&disk, 1 << 20).save(&counts(7), true).unwrap();
    let mut bytes = disk.get("state").unwrap();
    let end = 28 + bytes[28..].iter().position(|byte| *byte == 0).unwrap();
    let text = String::from_utf8(bytes[28..end].to_vec()).unwrap();
    let payload = text.replacen('{', "{\"since\":[1,{}],", 1).replace("\"ambiguous\":0,", "");
    assert_ne!(payload.len(), text.len());
    bytes[24..28].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[28..28 + payload.len()].copy_from_slice(payload.as_bytes());
    let checksum = crc32fast::hash(&bytes[12..28 + payload.len()]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(state(&MemoryDisk::with("state", &bytes)).unwrap().counts, counts(7));
}

#[test]
fn a_state_of_a_later_version_is_refused_and_kept() {
    let disk = MemoryDisk::default();
    open(&disk, 1 << 20).save(&counts(7), true).unwrap();
    let mut bytes = disk.get("state").unwrap();
    bytes[12] = 2;
    let length = usize::from(u16::from_le_bytes([bytes[24], bytes[25]]));
    let checksum = crc32fast::hash(&bytes[12..28 + length]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    let disk = MemoryDisk::with("state", &bytes);
    let error = Store::open_with(Box::new(disk.clone()), 1 << 20).unwrap_err();
    assert!(matches!(error, SpoolError::Newer { version: 2, known: 1, .. }), "{error}");
    assert_eq!(disk.get("state").unwrap(), bytes);
}

#[test]
fn a_number_that_json_lacks_does_not_cost_the_state() {
    let disk = MemoryDisk::default();
    open(&disk, 1 << 20).save(&Counts { gap_seconds: f64::NAN, taken: 5, ..Counts::default() }, true).unwrap();
    assert_eq!(state(&disk).unwrap().counts, Counts { taken: 5, ..Counts::default() });
}

#[test]
fn what_ended_never_outgrows_a_slot() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 64 << 20);
    let parts = vec![part("x", 1); 1000];
    for window in 1..=20 {
        store.append(&parts).unwrap();
        (0..999).for_each(|index| store.end(id(window, index)));
        store.save(&counts(window), false).unwrap();
    }
    let (mut store, recovered) = Store::open_with(Box::new(disk), 64 << 20).unwrap();
    assert_eq!(super::ids(&recovered.parts), (1..=20).map(|window| (window, 999)).collect::<Vec<_>>());
    assert!(recovered.state.unwrap().ended.len() < MAX_PAYLOAD_BYTES / 4);
    assert_eq!(store.read(id(3, 999)).unwrap(), "x");
    // All but a few were written anew with one record each.
    assert!(store.bytes() < 6 * 1000 * 57, "{}", store.bytes());
}

#[test]
fn counts_that_outgrow_a_slot_are_an_error() {
    let mut store = open(&MemoryDisk::default(), 1 << 20);
    append_small(&mut store, 1);
    let dropped = (0..2000).map(|number| (format!("reason {number}"), number)).collect();
    let error = store.save(&Counts { dropped, ..Counts::default() }, false).unwrap_err();
    assert!(matches!(error, SpoolError::TooLarge { max_bytes: 16356, .. }), "{error}");
}

#[test]
fn a_state_file_that_somebody_removed_is_made_again() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk, 1 << 20);
    store.save(&counts(1), true).unwrap();
    crate::spool::Disk::remove(&mut disk.clone(), "state").unwrap();
    store.save(&counts(2), true).unwrap();
    assert_eq!(state(&disk).unwrap().counts, counts(2));
}
