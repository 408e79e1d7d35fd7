//! What the kernel program had counted at the last poll, saved ten times a second: the states of the spool wait for the
//! disk, and an agent killed meanwhile must not forget what was taken.
//!
//! The file `poll` has two slots of 4 KiB, written in turn. A slot begins with the checksum (CRC-32) of what follows, 4
//! bytes, then the length of the payload, 4 bytes; numbers are little-endian. The payload is JSON. It is never synced: it
//! is for an agent that is killed, not for a host that loses its power.

use crate::confine;
use crate::host::unix_ns;
use crate::spool::Counts;
use crate::telemetry::ledger::{Ledger, Snapshot};
use profiler_common::outcome::Outcome;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two polls: that of the ring buffer.
const POLL: Duration = Duration::from_millis(100);
const NAME: &str = "poll";
const SLOT_BYTES: usize = 4096;
const HEAD_BYTES: usize = 8;

/// Counts of the kernel program since the spool began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Poll {
    /// Tells agents apart.
    pub(super) run: u64,
    /// Grows with each poll of a run.
    pub(super) number: u64,
    pub(super) taken: u64,
    pub(super) entered: u64,
    /// When, nanoseconds since 1970.
    pub(super) unix_ns: u64,
    /// Samples that never left the kernel, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
}

impl Poll {
    pub(super) fn new(run: u64, number: u64, snapshot: &Snapshot) -> Self {
        let reasons =
            Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Submitted).map(|outcome| outcome.label());
        let dropped = reasons.map(|reason| (reason.to_owned(), snapshot.dropped_for(reason)));
        let (taken, entered) = (snapshot.taken, snapshot.entered);
        Self { run, number, taken, entered, unix_ns: unix_ns(), dropped: dropped.collect() }
    }

    /// What came after a state of the same run was still in the agent's hands.
    pub(super) fn add_to(&self, counts: &mut Counts) {
        if self.run != counts.run || self.taken < counts.taken {
            return;
        }
        let mut submitted = self.taken - counts.taken;
        for (reason, now) in &self.dropped {
            let before = counts.dropped.entry(reason.clone()).or_default();
            submitted = submitted.saturating_sub(now.saturating_sub(*before));
            *before = (*before).max(*now);
        }
        (counts.taken, counts.entered) = (self.taken, counts.entered.max(self.entered));
        counts.pending += submitted;
        counts.saved_unix_ns = counts.saved_unix_ns.max(self.unix_ns);
    }
}

/// The thread that saves polls.
#[derive(Debug)]
pub(super) struct Poller {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Poller {
    pub(super) fn start(file: PollFile, folder: &Path, run: u64, ledger: &Arc<Ledger>) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let (folder, ledger) = (folder.to_owned(), Arc::clone(ledger));
        let body = move || {
            confine::files_thread(&folder);
            let mut number = 0;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(POLL) {
                number += 1;
                if let Err(error) = file.write(&Poll::new(run, number, &ledger.snapshot())) {
                    tracing::debug!(%error, "a poll cannot be saved");
                }
            }
        };
        let thread = std::thread::Builder::new().name("spool-poll".into()).spawn(body)?;
        Ok(Self { stop, thread })
    }

    pub(super) fn finish(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that saves polls panicked");
        }
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct PollFile(File);

impl PollFile {
    /// Opens the file, made where there is none, and reads the last poll.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<Poll>)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(folder.join(NAME), flags, Mode::from_raw_mode(0o600))?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("{NAME} is no regular file")));
        }
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        let mut read = 0;
        while let Ok(more) = file.read_at(&mut bytes[read..], read as u64)
            && more > 0
        {
            read += more;
        }
        let polls = bytes[..read].chunks(SLOT_BYTES).filter_map(decode);
        let last = polls.max_by_key(|poll| poll.number);
        Ok((Self(file), last))
    }

    pub(super) fn write(&self, poll: &Poll) -> io::Result<()> {
        let payload = serde_json::to_vec(poll)?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&payload);
        if bytes.len() > SLOT_BYTES {
            return Err(io::Error::other("a poll does not fit into its slot"));
        }
        let checksum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        self.0.write_all_at(&bytes, (poll.number % 2) * SLOT_BYTES as u64)
    }
}

fn decode(slot: &[u8]) -> Option<Poll> {
    let number = |at: usize| Some(u32::from_le_bytes(*slot.get(at..at + 4)?.first_chunk()?));
    let end = HEAD_BYTES.checked_add(number(4)? as usize)?;
    let checked = slot.get(4..end)?;
    (crc32fast::hash(checked) == number(0)?).then(|| serde_json::from_slice(&checked[4..]).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(number: u64, taken: u64, ring_full: u64) -> Poll {
        let dropped = BTreeMap::from([("ring_full".into(), ring_full)]);
        Poll { run: 7, number, taken, entered: taken, unix_ns: 0, dropped }
    }

    #[test]
    fn the_last_poll_that_is_whole_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (file, last) = PollFile::open(folder.path()).unwrap();
        assert_eq!(last, None);
        for number in 1..=3 {
            file.write(&poll(number, number * 10, 0)).unwrap();
        }
        assert_eq!(PollFile::open(folder.path()).unwrap().1, Some(poll(3, 30, 0)));
        let path = folder.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        for at in SLOT_BYTES..bytes.len() {
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(PollFile::open(folder.path()).unwrap().1, Some(poll(2, 20, 0)), "byte {at}");
            bytes[at] ^= 1;
        }
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let last = PollFile::open(folder.path()).unwrap().1;
            assert!(last.is_none_or(|last| last == poll(2, 20, 0)), "{length} bytes");
        }
    }

    #[test]
    fn what_came_after_a_state_was_pending() {
        let state = Counts {
            run: 7,
            taken: 100,
            entered: 100,
            exported: 90,
            pending: 8,
            dropped: BTreeMap::from([("ring_full".into(), 2)]),
            ..Counts::default()
        };
        let mut counts = state.clone();
        poll(9, 150, 5).add_to(&mut counts);
        assert_eq!((counts.taken, counts.entered, counts.pending, counts.dropped["ring_full"]), (150, 150, 55, 5));
        assert_eq!(counts.taken, counts.exported + counts.pending + counts.dropped["ring_full"]);
        let mut other = Counts { run: 8, ..state.clone() };
        poll(9, 150, 5).add_to(&mut other);
        assert_eq!(other.taken, 100, "another agent's poll says nothing");
        let mut older = state.clone();
        poll(9, 99, 2).add_to(&mut older);
        assert_eq!(older, state);
    }
}
