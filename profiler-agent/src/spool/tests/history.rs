//! A history of a spool, and what must be there after it.

use super::{NewPart, PartId, part};
use crate::fuzz::MemoryDisk;
use crate::spool::{Counts, Disk, Recovered, SpoolError, Store};
use std::collections::{BTreeMap, BTreeSet};

/// Room for about four windows.
const MAX_BYTES: u64 = 900;

/// What happened to the parts, and to the counts.
#[derive(Default)]
pub(super) struct History {
    /// Appended, and neither ended nor evicted.
    live: BTreeMap<PartId, NewPart>,
    /// Ended, which was not yet saved.
    ended: BTreeMap<PartId, NewPart>,
    /// Ended, which was saved and not yet synced.
    saved: BTreeMap<PartId, NewPart>,
    /// Evicted by an append that failed.
    evicted_in_vain: BTreeMap<PartId, NewPart>,
    /// Bodies of appends that failed.
    failed: BTreeSet<Vec<u8>>,
    /// Number of the save tried last, of the last that succeeded, and of the last that synced.
    tried: u64,
    saved_last: u64,
    synced_last: u64,
    /// What went wrong, in order.
    pub(super) errors: Vec<SpoolError>,
}

/// What came between the history and the look at what it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The agent was restarted; the disk had failed for a moment.
    Restart,
    /// The agent was killed, or its disk was gone until its end.
    Killed,
    /// The host lost its power.
    PowerCut,
}

impl History {
    /// Lives through the history: what fails is noted, and life goes on.
    pub(super) fn live(disk: impl Fn() -> Box<dyn Disk>) -> Self {
        let mut history = Self::default();
        let mut store = match Store::open_with(disk(), MAX_BYTES).or_else(|_| Store::open_with(disk(), MAX_BYTES)) {
            Ok((store, _)) => store,
            Err(error) => {
                history.errors.push(error);
                return history;
            }
        };
        history.append(&mut store, &[("a0", 40), ("a1", 0)]);
        history.append(&mut store, &[("b0", 100)]);
        history.save(&mut store, true);
        history.end(&mut store, 0);
        history.save(&mut store, false);
        history.append(&mut store, &[("c0", 10), ("c1", 20), ("c2", 30)]);
        history.end(&mut store, 0);
        history.save(&mut store, true);
        let in_flight: Vec<PartId> = history.live.keys().take(1).copied().collect();
        store.set_in_flight(&in_flight);
        history.end(&mut store, 1);
        history.append(&mut store, &[("d0", 300)]);
        history.append(&mut store, &[("e0", 200)]);
        history.save(&mut store, false);
        history.end(&mut store, 1);
        history.save(&mut store, false);
        store.set_in_flight(&[]);
        history.append(&mut store, &[("f0", 250)]);
        history.save(&mut store, false);
        history.read(&mut store);
        assert!(store.bytes() <= MAX_BYTES);
        history
    }

    fn append(&mut self, store: &mut Store, parts: &[(&str, usize)]) {
        let parts: Vec<NewPart> = parts.iter().map(|(name, bytes)| part(name, *bytes)).collect();
        let (stored, evicted) = match store.append(&parts) {
            Ok(appended) => (appended.stored, appended.evicted),
            Err(error) => {
                self.failed.extend(parts.iter().map(|part| part.body.to_vec()));
                self.errors.push(error.error);
                let evicted = error.evicted.iter().map(|part| (part.id, self.live.remove(&part.id).unwrap()));
                self.evicted_in_vain.extend(evicted);
                return;
            }
        };
        evicted.iter().for_each(|part| drop(self.live.remove(&part.id).unwrap()));
        self.live.extend(stored.iter().map(|part| part.id).zip(parts));
        // The folder was synced.
        self.evicted_in_vain.clear();
    }

    /// Ends the n-th oldest part.
    fn end(&mut self, store: &mut Store, nth: usize) {
        let Some(id) = self.live.keys().nth(nth).copied() else { return };
        store.end(id);
        self.ended.insert(id, self.live.remove(&id).unwrap());
    }

    fn save(&mut self, store: &mut Store, sync: bool) {
        self.tried += 1;
        match store.save(&Counts { taken: self.tried, ..Counts::default() }, sync) {
            Ok(()) => {
                self.saved.append(&mut self.ended);
                self.saved_last = self.tried;
                if sync {
                    self.saved.clear();
                    self.synced_last = self.tried;
                }
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn read(&mut self, store: &mut Store) {
        for (id, part) in &self.live {
            match store.read(*id) {
                Ok(body) => assert_eq!(body, part.body),
                Err(error) => self.errors.push(error),
            }
        }
    }

    /// Looks at what is left.
    pub(super) fn check(&self, disk: &MemoryDisk, end: End, case: &str) {
        let opened = Store::open_with(Box::new(disk.clone()), MAX_BYTES);
        let (mut store, recovered) = opened.unwrap_or_else(|error| panic!("{case}: {error}"));
        let found: BTreeMap<PartId, Vec<u8>> =
            recovered.parts.iter().map(|part| (part.id, store.read(part.id).unwrap().to_vec())).collect();
        assert_eq!(found.len(), recovered.parts.len(), "{case}: a part came twice");
        for (id, part) in &self.live {
            assert_eq!(found.get(id).map(Vec::as_slice), Some(&part.body[..]), "{case}: {id:?} is not there");
        }
        for (id, body) in found.iter().filter(|(id, _)| !self.live.contains_key(id)) {
            assert!(self.may_come(*id, body, end), "{case}: {id:?} came back");
        }
        let bodies: BTreeSet<_> = found.values().collect();
        assert_eq!(bodies.len(), found.len(), "{case}: a body came twice");
        assert_eq!((recovered.corrupt_records, recovered.left_alone), (0, 0), "{case}");
        self.check_counts(&recovered, end, case);
        let again = Store::open_with(Box::new(disk.clone()), MAX_BYTES).unwrap().1;
        assert_eq!((again.parts, again.unfinished), (recovered.parts, 0), "{case}");
    }

    /// A part that is not live, and whose way out was not made to last.
    fn may_come(&self, id: PartId, body: &[u8], end: End) -> bool {
        let ended = self.ended.contains_key(&id);
        let lost_power = self.saved.contains_key(&id) || self.evicted_in_vain.contains_key(&id);
        ended || end != End::Restart && self.failed.contains(body) || end == End::PowerCut && lost_power
    }

    fn check_counts(&self, recovered: &Recovered, end: End, case: &str) {
        let taken = recovered.state.as_ref().map_or(0, |state| state.counts.taken);
        let at_least = if end == End::PowerCut { self.synced_last } else { self.saved_last };
        assert!((at_least..=self.tried).contains(&taken), "{case}: state {taken} of {at_least} to {}", self.tried);
    }
}
