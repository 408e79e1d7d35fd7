//! Files of a spool.

use super::disk::MemoryDisk;
use crate::spool::{Counts, Store};
use std::collections::BTreeSet;

/// More than any input.
const MAX_BYTES: u64 = 1 << 20;
const WINDOW: &str = "0000000000000001.window";

/// A window file: each part that is found can be read, and another start finds the same, with nothing to complain about.
pub fn spool_window(data: &[u8]) {
    let disk = MemoryDisk::with(WINDOW, data);
    let Ok((mut store, recovered)) = Store::open_with(Box::new(disk.clone()), MAX_BYTES) else { return };
    let ids: BTreeSet<_> = recovered.parts.iter().map(|part| part.id).collect();
    assert_eq!(ids.len(), recovered.parts.len());
    for part in &recovered.parts {
        assert!(store.read(part.id).is_ok_and(|body| body.len() as u64 == part.bytes), "{part:?}");
    }
    if recovered.left_alone > 0 {
        assert_eq!(disk.get(WINDOW).as_deref(), Some(data));
        return;
    }
    assert!(store.bytes() <= data.len() as u64 + 32);
    let again = Store::open_with(Box::new(disk), MAX_BYTES).map(|(_, recovered)| recovered);
    assert!(again.is_ok_and(|again| again.parts == recovered.parts && again.corrupt_records == 0));
}

/// A state file: what it says can be saved again and is then the same.
pub fn spool_state(data: &[u8]) {
    let disk = MemoryDisk::with("state", data);
    let Ok((mut store, recovered)) = Store::open_with(Box::new(disk.clone()), MAX_BYTES) else { return };
    let mut counts = recovered.state.map_or_else(Counts::default, |state| state.counts);
    // What JSON makes of it may differ in the last digit.
    counts.gap_seconds = counts.gap_seconds.trunc().clamp(0.0, 1e6);
    // A state that a slot can hold as it was may be too large as this program writes it.
    if store.save(&counts, true).is_err() {
        return;
    }
    let again = Store::open_with(Box::new(disk), MAX_BYTES).ok().and_then(|(_, recovered)| recovered.state);
    assert_eq!(again.map(|state| state.counts), Some(counts));
}
