//! Parts that wait for an endpoint, oldest first, bounded in encoded bytes.

use crate::otlp::Part;
use crate::telemetry::ledger::{DropReason, Pending};
use crate::telemetry::lose;
use bytes::Bytes;
use prost::Message;
use std::collections::VecDeque;
use std::time::Instant;

/// A part with its samples in the ledger. Let go without an end, they are dropped{shutdown}.
#[derive(Debug)]
pub(super) struct Entry {
    /// Age: smaller is older.
    sequence: u64,
    /// The encoded request.
    pub(super) body: Bytes,
    pending: Option<Pending>,
    /// Not to be sent before.
    pub(super) not_before: Option<Instant>,
    /// When it came.
    pub(super) born: Instant,
    /// Tries that were answered.
    pub(super) answers: u32,
    /// The server may have it.
    pub(super) ambiguous: bool,
    /// There is no further try.
    pub(super) last: bool,
}

impl Entry {
    /// Counts what the part really holds.
    fn new(sequence: u64, part: &Part, mut pending: Pending) -> Self {
        pending.recount(part.samples);
        Self {
            sequence,
            body: part.request.encode_to_vec().into(),
            pending: Some(pending),
            not_before: None,
            born: Instant::now(),
            answers: 0,
            ambiguous: false,
            last: false,
        }
    }

    pub(super) fn exported(mut self) {
        if let Some(mut pending) = self.pending.take() {
            if lose::one("export") {
                pending.recount(pending.count() - 1);
            }
            pending.exported();
        }
    }

    pub(super) fn dropped(mut self, reason: DropReason) {
        if let Some(pending) = self.pending.take() {
            pending.dropped(reason);
        }
    }

    /// The same samples as two parts of the same age.
    pub(super) fn split(mut self, halves: [Part; 2]) -> Vec<Self> {
        let Some(mut pending) = self.pending.take() else { return Vec::new() };
        let [first, second] = halves;
        let first_pending = pending.split(first.samples);
        let half = |part, pending| {
            let mut entry = Self::new(self.sequence, part, pending);
            entry.born = self.born;
            entry
        };
        vec![half(&first, first_pending), half(&second, pending)]
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.dropped(DropReason::Shutdown);
        }
    }
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Next {
    Send(Entry),
    /// Nothing before; none means until something happens.
    Wait(Option<Instant>),
    Finished,
}

#[derive(Debug)]
pub(super) struct Backlog {
    /// By age.
    waiting: VecDeque<Entry>,
    /// Encoded bytes that wait or are on their way.
    bytes: usize,
    max_bytes: usize,
    on_their_way: usize,
    next_sequence: u64,
    closing: bool,
}

impl Backlog {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, max_bytes, on_their_way: 0, next_sequence: 0, closing: false }
    }

    /// Parts and encoded bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.waiting.len() + self.on_their_way, self.bytes)
    }

    /// Takes a part in; how many parts had to go for it.
    pub(super) fn push(&mut self, part: &Part, pending: Pending) -> usize {
        let entry = Entry::new(self.next_sequence, part, pending);
        self.next_sequence += 1;
        if self.closing {
            entry.dropped(DropReason::Shutdown);
            return 0;
        }
        if entry.body.len() > self.max_bytes {
            entry.dropped(DropReason::BacklogFull);
            return 1;
        }
        self.insert(entry);
        self.evict()
    }

    /// The oldest part that may be sent. `closed_until` is for all parts; closing, nothing is waited for.
    pub(super) fn next(&mut self, now: Instant, closed_until: Option<Instant>) -> Next {
        if self.closing {
            return match self.waiting.pop_front() {
                Some(mut entry) => {
                    entry.last = true;
                    self.send(entry)
                }
                None if self.on_their_way > 0 => Next::Wait(None),
                None => Next::Finished,
            };
        }
        if self.waiting.is_empty() || closed_until.is_some() {
            return Next::Wait(closed_until.filter(|_| !self.waiting.is_empty()));
        }
        let due = |entry: &Entry| entry.not_before.is_none_or(|at| at <= now);
        match self.waiting.iter().position(due).and_then(|found| self.waiting.remove(found)) {
            Some(entry) => self.send(entry),
            None => Next::Wait(self.waiting.iter().filter_map(|entry| entry.not_before).min()),
        }
    }

    fn send(&mut self, entry: Entry) -> Next {
        self.on_their_way += 1;
        Next::Send(entry)
    }

    /// A part that was on its way came to an end, or back as `entries`; how many parts had to go for them.
    pub(super) fn settle(&mut self, bytes: usize, entries: Vec<Entry>) -> usize {
        self.on_their_way -= 1;
        self.bytes -= bytes;
        entries.into_iter().for_each(|entry| self.insert(entry));
        self.evict()
    }

    fn insert(&mut self, entry: Entry) {
        self.bytes += entry.body.len();
        let place = self.waiting.partition_point(|other| other.sequence <= entry.sequence);
        self.waiting.insert(place, entry);
    }

    fn evict(&mut self) -> usize {
        let mut evicted = 0;
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.body.len();
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
        self.waiting.clear();
        self.bytes = 0;
    }
}
