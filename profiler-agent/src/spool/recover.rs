//! What a folder holds at the start.

use super::file::Window;
use super::scan::{Records, Scanned, scan};
use super::state::Slots;
use super::{PartId, Recovered, SpoolError, State, Store, window};
use std::collections::BTreeSet;

/// Reads the folder into a new store.
pub(super) fn recover(store: &mut Store) -> Result<Recovered, SpoolError> {
    let names = store.disk.names().map_err(SpoolError::io("list", "."))?;
    let (slots, state) = Slots::load(&mut *store.disk)?;
    store.state = slots;
    // Where this fails, so may saving, which says so.
    let _ = store.state.prepare(&mut *store.disk);
    let mut recovered = Recovered { state, ..Recovered::default() };
    remove_unfinished(store, &names, &mut recovered);
    let damaged = read_windows(store, &names, &mut recovered);
    clean(store, &damaged);
    recovered.parts = store.windows.values().flat_map(Window::parts).collect();
    Ok(recovered)
}

fn remove_unfinished(store: &mut Store, names: &[String], recovered: &mut Recovered) {
    for name in names {
        let Some(number) = window::unfinished_number(name) else { continue };
        reserve(store, number);
        recovered.unfinished += u64::from(store.disk.remove(name).is_ok());
    }
}

/// Numbers of the windows that are not as they were written.
fn read_windows(store: &mut Store, names: &[String], recovered: &mut Recovered) -> Vec<u64> {
    let state = recovered.state.as_ref();
    reserve(store, state.map_or(0, |state| state.next_window.saturating_sub(1)));
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| window::number(name)).collect();
    let mut damaged = Vec::new();
    for number in numbers {
        reserve(store, number);
        let ended = state.map(|state| ended(state, number)).unwrap_or_default();
        let Ok(Scanned::Records(records)) = scan(&mut *store.disk, &window::name(number), number) else {
            store.ended_elsewhere.extend(ended.iter().map(|index| PartId { window: number, index: *index }));
            recovered.left_alone += 1;
            continue;
        };
        if !records.whole {
            damaged.push(number);
        }
        recovered.corrupt_records += lost(&records, &ended);
        store.windows.insert(number, Window { bytes: records.bytes, records: records.found, ended });
    }
    damaged
}

/// Records that are not there, of those that had not ended.
fn lost(records: &Records, ended: &BTreeSet<u32>) -> u64 {
    let missing = records.expected - records.found.len() as u64;
    let missing_ended = ended.iter().filter(|index| !records.found.contains_key(index)).count();
    missing.saturating_sub(missing_ended as u64)
}

fn ended(state: &State, number: u64) -> BTreeSet<u32> {
    let from = state.ended.partition_point(|id| id.window < number);
    state.ended[from..].iter().take_while(|id| id.window == number).map(|id| id.index).collect()
}

/// Removes what is over and writes anew what is damaged. What fails stays as it is: it does no harm.
fn clean(store: &mut Store, damaged: &[u64]) {
    let _ = store.remove_over();
    for number in damaged {
        let _ = store.rewrite(*number);
    }
}

/// This number is not given again.
fn reserve(store: &mut Store, number: u64) {
    store.next_window = store.next_window.max(number.min(window::MAX_NUMBER) + 1);
}
