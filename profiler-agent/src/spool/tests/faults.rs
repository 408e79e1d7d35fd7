//! Disks that fail at the n-th call of a kind, for each n.

use super::history::{End, History};
use super::{MemoryDisk, append_small, id, ids, open, part};
use crate::spool::{Counts, Disk, Store};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::io::Errno;
use std::io;
use std::sync::{Arc, Mutex};

/// Calls of a kind in the history, and more.
const MAX_CALLS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Names,
    Size,
    Read,
    Create,
    Write,
    Sync,
    Rename,
    Remove,
    SyncFolder,
}

const CALLS: [Call; 9] = [
    Call::Names,
    Call::Size,
    Call::Read,
    Call::Create,
    Call::Write,
    Call::Sync,
    Call::Rename,
    Call::Remove,
    Call::SyncFolder,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The call fails.
    Once(Errno),
    /// The call is done, and fails.
    Done(Errno),
    /// This call and all that come fail, of whatever kind.
    FromThen(Errno),
    /// Half is written or read.
    Short,
    /// Half is written, then the call and all that come fail.
    Torn,
}

/// A disk with a fault in it; clones are the same disk.
#[derive(Clone)]
struct FaultyDisk {
    disk: MemoryDisk,
    /// The kind that fails, and calls of it until then; none counts all kinds.
    kind: Option<Call>,
    left: Arc<Mutex<Option<usize>>>,
    fault: Fault,
}

impl FaultyDisk {
    fn new(kind: Option<Call>, after: usize, fault: Fault) -> Self {
        Self { disk: MemoryDisk::default(), kind, left: Arc::new(Mutex::new(Some(after))), fault }
    }

    fn boxed(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    /// The fault has happened.
    fn struck(&self) -> bool {
        self.left.lock().unwrap().is_none()
    }

    /// Whether the fault is for this call.
    fn strikes(&self, kind: Call) -> bool {
        let mut left = self.left.lock().unwrap();
        match *left {
            None => matches!(self.fault, Fault::FromThen(_) | Fault::Torn),
            Some(_) if self.kind.is_some_and(|wanted| wanted != kind) => false,
            Some(0) => {
                *left = None;
                true
            }
            Some(more) => {
                *left = Some(more - 1);
                false
            }
        }
    }

    fn call<T>(&mut self, kind: Call, call: impl FnOnce(&mut MemoryDisk) -> io::Result<T>) -> io::Result<T> {
        if !self.strikes(kind) {
            return call(&mut self.disk);
        }
        match self.fault {
            Fault::Once(errno) | Fault::FromThen(errno) => Err(errno.into()),
            Fault::Done(errno) => call(&mut self.disk).and(Err(errno.into())),
            Fault::Short => call(&mut self.disk),
            Fault::Torn => Err(Errno::IO.into()),
        }
    }
}

impl Disk for FaultyDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        self.call(Call::Names, MemoryDisk::names)
    }

    fn size(&mut self, name: &str) -> io::Result<u64> {
        self.call(Call::Size, |disk| disk.size(name))
    }

    fn read(&mut self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = if self.fault == Fault::Short { buffer.len().div_ceil(2) } else { buffer.len() };
        self.call(Call::Read, |disk| disk.read(name, offset, &mut buffer[..wanted]))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.call(Call::Create, |disk| disk.create(name))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let half = &bytes[..bytes.len().div_ceil(2)];
        if self.fault == Fault::Torn && !self.struck() {
            let mut disk = self.disk.clone();
            let result = self.call(Call::Write, |disk| disk.write(name, offset, bytes));
            return result.or_else(|error| disk.write(name, offset, half).and(Err(error)));
        }
        let wanted = if self.fault == Fault::Short { half } else { bytes };
        self.call(Call::Write, |disk| disk.write(name, offset, wanted))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.call(Call::Sync, |disk| disk.sync(name))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.call(Call::Rename, |disk| disk.rename(from, to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.call(Call::Remove, |disk| disk.remove(name))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.call(Call::SyncFolder, MemoryDisk::sync_folder)
    }
}

/// Lives through the history with the fault at each call of the kind in turn; how many there were.
fn at_each_call(kind: Option<Call>, fault: Fault, mut look: impl FnMut(&History, &MemoryDisk, &str)) -> usize {
    for nth in 0..MAX_CALLS {
        let disk = FaultyDisk::new(kind, nth, fault);
        let history = History::live(|| disk.boxed());
        if !disk.struck() {
            return nth;
        }
        look(&history, &disk.disk, &format!("{fault:?} at call {nth} of {kind:?}"));
    }
    panic!("{kind:?}: the history has no end");
}

#[test]
fn a_history_without_faults_has_no_errors() {
    let disk = MemoryDisk::default();
    let history = History::live(|| Box::new(disk.clone()));
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    history.check(&disk, End::Restart, "no fault");
}

#[test]
fn one_call_that_fails_costs_at_most_what_it_was_for() {
    for kind in CALLS {
        for fault in [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::PERM].map(Fault::Once) {
            let calls = at_each_call(Some(kind), fault, |history, disk, case| history.check(disk, End::Restart, case));
            assert!(calls > 0, "{kind:?} is never called");
        }
    }
}

#[test]
fn a_call_that_is_done_and_fails_costs_at_most_what_it_was_for() {
    for kind in [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::Remove, Call::SyncFolder] {
        for fault in [Errno::IO, Errno::NOSPC].map(Fault::Done) {
            at_each_call(Some(kind), fault, |history, disk, case| history.check(disk, End::Restart, case));
        }
    }
}

#[test]
fn short_reads_and_writes_cost_nothing() {
    for kind in [Call::Read, Call::Write] {
        at_each_call(Some(kind), Fault::Short, |history, disk, case| {
            assert!(history.errors.is_empty(), "{case}: {:?}", history.errors);
            history.check(disk, End::Restart, case);
        });
    }
}

#[test]
fn a_disk_that_is_gone_from_some_call_on_keeps_what_it_had() {
    for errno in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
        at_each_call(None, Fault::FromThen(errno), |history, disk, case| history.check(disk, End::Killed, case));
    }
}

#[test]
fn a_write_torn_by_the_death_of_the_agent_costs_only_what_it_wrote() {
    let calls = at_each_call(Some(Call::Write), Fault::Torn, |history, disk, case| {
        history.check(disk, End::Killed, case);
    });
    assert!(calls > 20, "{calls} writes");
}

#[test]
fn a_power_cut_at_any_call_costs_nothing_that_was_acknowledged() {
    for fault in [Fault::FromThen(Errno::IO), Fault::Torn] {
        for seed in 0..4 {
            let mut random = StdRng::seed_from_u64(seed);
            let kind = (fault == Fault::Torn).then_some(Call::Write);
            at_each_call(kind, fault, |history, disk, case| {
                disk.cut_power(|below| random.random_range(0..below));
                history.check(disk, End::PowerCut, &format!("{case}, power cut {seed}"));
            });
        }
    }
}

#[test]
fn a_full_disk_takes_the_new_window_for_the_oldest() {
    let mut disk = FaultyDisk::new(Some(Call::Write), 1 + 6 * 3, Fault::Once(Errno::NOSPC));
    let mut store = Store::open_with(disk.boxed(), 1 << 20).unwrap().0;
    append_small(&mut store, 6);
    let appended = store.append(&[part("new", 44)]).unwrap();
    assert!(disk.struck());
    assert_eq!((ids(&appended.evicted), ids(&appended.stored)), (vec![(1, 0)], vec![(8, 0)]));
    assert!(!disk.names().unwrap().iter().any(|name| name.ends_with(".tmp")));
}

#[test]
fn a_disk_that_stays_full_is_an_error_that_names_what_went() {
    let disk = FaultyDisk::new(Some(Call::Sync), 4, Fault::Once(Errno::NOSPC));
    let mut store = Store::open_with(disk.boxed(), 1 << 20).unwrap().0;
    append_small(&mut store, 3);
    store.set_in_flight(&[id(1, 0), id(2, 0), id(3, 0)]);
    let error = store.append(&[part("new", 44)]).unwrap_err();
    assert!(error.error.is_full() && error.evicted.is_empty(), "{error}");
    assert_eq!(store.bytes(), 3 * 132);
}

#[test]
fn an_error_of_the_disk_while_opening_costs_no_part() {
    let good = MemoryDisk::default();
    let mut store = open(&good, 1 << 20);
    append_small(&mut store, 3);
    store.end(id(2, 0));
    store.append(&[part("a", 10), part("b", 10)]).unwrap();
    store.end(id(4, 0));
    store.save(&Counts::default(), true).unwrap();
    for nth in 0..MAX_CALLS {
        let faulty =
            FaultyDisk { disk: good.clone(), ..FaultyDisk::new(Some(Call::Read), nth, Fault::Once(Errno::IO)) };
        if let Ok((mut store, recovered)) = Store::open_with(faulty.boxed(), 1 << 20) {
            assert!(recovered.left_alone == u64::from(faulty.struck()), "read {nth}: {recovered:?}");
            store.save(&Counts::default(), true).unwrap();
        }
        let recovered = Store::open_with(Box::new(good.clone()), 1 << 20).unwrap().1;
        assert_eq!(ids(&recovered.parts), [(1, 0), (3, 0), (4, 1)], "read {nth}");
        if !faulty.struck() {
            return;
        }
    }
}
