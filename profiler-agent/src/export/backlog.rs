//! Parts that wait for an endpoint: live ones, and the backlog of those whose first try failed or that an earlier agent
//! left behind.
//!
//! Live parts go first, oldest first. The backlog is replayed beside them at a pace of its own, oldest first; what is
//! older than a server takes is dropped before it is sent. What is in memory is bounded in encoded bytes, and the
//! oldest goes first; what is in the spool costs no more than its entry.

use super::entry::Entry;
use super::pace::Pace;
use crate::spool::PartId;
use crate::telemetry::ledger::DropReason;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Pyroscope takes what is younger than an hour; a minute is for the way and for clocks that differ.
const MAX_AGE_NS: u64 = (3600 - 60) * 1_000_000_000;
/// A part that waits longer than this is no longer live.
const LIVE: Duration = Duration::from_secs(30);
/// Parts of the backlog on their way at a time.
const MAX_REPLAYS: usize = 2;

/// What there is to do.
#[derive(Debug)]
pub(super) enum Next {
    Send(Entry, Kind),
    /// Nothing before; none means until something happens.
    Wait(Option<Instant>),
    Finished,
}

/// Which parts a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those of now.
    Live,
    /// Those left behind.
    Replay,
}

#[derive(Debug)]
pub(super) struct Backlog {
    live: VecDeque<Entry>,
    /// By time, and by the order in which they came.
    replay: BTreeMap<(u64, u64), Entry>,
    /// Encoded bytes in memory that wait or are on their way.
    bytes: usize,
    max_bytes: usize,
    /// On their way: all, and those of the backlog.
    on_their_way: usize,
    replays: usize,
    next_number: u64,
    pace: Pace,
    closing: bool,
}

impl Backlog {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            live: VecDeque::new(),
            replay: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            on_their_way: 0,
            replays: 0,
            next_number: 0,
            pace: Pace::default(),
            closing: false,
        }
    }

    /// Parts, and encoded bytes in memory.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.live.len() + self.replay.len() + self.on_their_way, self.bytes)
    }

    /// Takes a part in; how many parts had to go for it. Closing, no live one is taken into memory.
    pub(super) fn push(&mut self, entry: Entry) -> usize {
        if self.closing && entry.live && entry.disk_id().is_none() {
            entry.dropped(DropReason::Shutdown);
            return 0;
        }
        self.insert(entry);
        self.evict()
    }

    /// Forgets parts that the spool has evicted.
    pub(super) fn evicted(&mut self, ids: &[PartId]) {
        let ids: HashSet<PartId> = ids.iter().copied().collect();
        let is_gone = |entry: &Entry| entry.disk_id().is_some_and(|id| ids.contains(&id));
        for entry in std::mem::take(&mut self.live) {
            match is_gone(&entry) {
                true => entry.dropped(DropReason::SpoolFull),
                false => self.live.push_back(entry),
            }
        }
        let gone: Vec<_> = self.replay.iter().filter(|(_, entry)| is_gone(entry)).map(|(key, _)| *key).collect();
        for key in gone {
            if let Some(entry) = self.replay.remove(&key) {
                entry.dropped(DropReason::SpoolFull);
            }
        }
    }

    /// The next part that may be sent. `closed_until` is for all parts; closing, nothing is waited for.
    pub(super) fn next(&mut self, now: Instant, now_unix_ns: u64, closed_until: Option<Instant>) -> Next {
        self.age(now, now_unix_ns);
        if self.closing {
            return self.next_of_last();
        }
        if self.live.is_empty() && self.replay.is_empty() || closed_until.is_some() {
            return Next::Wait(closed_until.filter(|_| !self.live.is_empty() || !self.replay.is_empty()));
        }
        let due = |entry: &Entry| entry.not_before.is_none_or(|at| at <= now);
        if let Some(entry) = self.live.iter().position(due).and_then(|found| self.live.remove(found)) {
            return self.send(entry, Kind::Live);
        }
        let paced = self.pace.not_before(now);
        if paced.is_none()
            && self.replays < MAX_REPLAYS
            && let Some(key) = self.replay.iter().find(|(_, entry)| due(entry)).map(|(key, _)| *key)
            && let Some(entry) = self.replay.remove(&key)
        {
            self.pace.went(entry.bytes, now);
            return self.send(entry, Kind::Replay);
        }
        Next::Wait(self.wake(now, paced))
    }

    /// When something may be due.
    fn wake(&self, now: Instant, paced: Option<Instant>) -> Option<Instant> {
        let live = self.live.iter().filter_map(|entry| entry.not_before);
        // With as many on their way as may be, the end of one wakes.
        let replay = self.replay.values().filter(|_| self.replays < MAX_REPLAYS);
        let replay = replay.map(|entry| entry.not_before.max(paced).unwrap_or(now)).min();
        live.chain(replay).min()
    }

    /// What is in memory and what is live goes once more; the rest stays in the spool.
    fn next_of_last(&mut self) -> Next {
        self.replay.retain(|_, entry| entry.disk_id().is_none());
        let next = self.live.pop_front().or_else(|| self.replay.pop_first().map(|(_, entry)| entry));
        match next {
            Some(mut entry) => {
                entry.last = true;
                self.send(entry, Kind::Live)
            }
            None if self.on_their_way > 0 => Next::Wait(None),
            None => Next::Finished,
        }
    }

    /// What has waited for long is no longer live, and what is too old goes.
    fn age(&mut self, now: Instant, now_unix_ns: u64) {
        while self.live.front().is_some_and(|entry| now.duration_since(entry.born) > LIVE)
            && let Some(entry) = self.live.pop_front()
        {
            self.put_off(entry);
        }
        let oldest = now_unix_ns.saturating_sub(MAX_AGE_NS);
        while let Some(first) = self.replay.first_entry()
            && first.get().start_unix_ns < oldest
        {
            let entry = first.remove();
            self.bytes -= in_memory(&entry);
            entry.dropped(DropReason::TooOld);
        }
    }

    fn send(&mut self, entry: Entry, kind: Kind) -> Next {
        self.on_their_way += 1;
        self.replays += usize::from(kind == Kind::Replay);
        Next::Send(entry, kind)
    }

    /// A part with so many bytes in memory that was on its way came to an end, or back as `entries`; how many parts had
    /// to go for them.
    pub(super) fn settle(&mut self, kind: Kind, bytes: usize, entries: Vec<Entry>) -> usize {
        self.on_their_way -= 1;
        self.replays -= usize::from(kind == Kind::Replay);
        self.bytes -= bytes;
        entries.into_iter().for_each(|entry| self.insert(entry));
        self.evict()
    }

    fn insert(&mut self, entry: Entry) {
        self.bytes += in_memory(&entry);
        match entry.live {
            true => self.live.push_back(entry),
            false => self.put_off(entry),
        }
    }

    fn put_off(&mut self, mut entry: Entry) {
        entry.live = false;
        self.replay.insert((entry.start_unix_ns, self.next_number), entry);
        self.next_number += 1;
    }

    /// Takes out what is in memory and was put off.
    pub(super) fn take_memory(&mut self) -> Vec<Entry> {
        let found: Vec<_> = self.replay.iter().filter(|(_, entry)| in_memory(entry) > 0).map(|(key, _)| *key).collect();
        let taken: Vec<Entry> = found.iter().filter_map(|key| self.replay.remove(key)).collect();
        self.bytes -= taken.iter().map(in_memory).sum::<usize>();
        taken
    }

    /// The server took a part of the backlog, or asked for patience.
    pub(super) fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    fn evict(&mut self) -> usize {
        let mut evicted = 0;
        while self.bytes > self.max_bytes {
            let old = self.replay.iter().find(|(_, entry)| in_memory(entry) > 0).map(|(key, _)| *key);
            let old = old.and_then(|key| self.replay.remove(&key)).or_else(|| {
                let found = self.live.iter().position(|entry| in_memory(entry) > 0)?;
                self.live.remove(found)
            });
            let Some(oldest) = old else { break };
            self.bytes -= in_memory(&oldest);
            oldest.dropped(DropReason::BacklogFull);
            evicted += 1;
        }
        evicted
    }

    /// From now on every part is tried once more and no new one taken.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Lets go what waits.
    pub(super) fn clear(&mut self) {
        self.live.clear();
        self.replay.clear();
        self.bytes = 0;
    }
}

/// Bytes of a part that are in memory.
pub(super) fn in_memory(entry: &Entry) -> usize {
    if entry.disk_id().is_some() { 0 } else { entry.bytes }
}
