//! What others hand to the spool's thread, and get back from it.

use crate::spool::{NewPart, PartId, StoredPart};
use crate::telemetry::ledger::{DropReason, Pending, Spooled};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::oneshot;

/// A disk that says nothing for so long hangs.
const DISK_HANGS: Duration = Duration::from_secs(10);
/// Encoded bytes that wait for the disk at most.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// A part of a window that was handed over.
#[derive(Debug)]
pub enum Kept {
    /// In the spool.
    Disk(StoredPart, Spooled),
    /// Still in memory: the disk refused.
    Memory(NewPart, Pending),
}

/// What became of a window.
#[derive(Debug, Default)]
pub struct Spooling {
    /// Its parts, in the order given.
    pub parts: Vec<Kept>,
    /// Parts that had to go for it.
    pub evicted: Vec<PartId>,
}

pub(super) type Done = Box<dyn FnOnce(Spooling) + Send>;

/// How a part ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Exported,
    Dropped(DropReason),
}

/// What the thread is asked to do.
pub(super) enum Command {
    Append(Vec<(NewPart, Pending)>, Done),
    Claim(PartId, oneshot::Sender<Result<Bytes, DropReason>>),
    Release(PartId),
    End(PartId, Spooled, End),
    Withdraw(PartId, Spooled, oneshot::Sender<Pending>),
    Finish,
}

/// Hands parts to the spool's thread.
#[derive(Clone)]
pub struct Spool {
    pub(super) commands: Sender<Command>,
    /// Bytes.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) works: Arc<AtomicBool>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Spool {
    /// Takes a window over; `done` is called, perhaps on the spool's thread, with what became of it. Returns at once.
    pub fn append(&self, parts: Vec<(NewPart, Pending)>, done: impl FnOnce(Spooling) + Send + 'static) {
        let bytes = parts.iter().map(|(part, _)| part.body.len()).sum();
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_WAITING_BYTES {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            return done(in_memory(parts, Vec::new()));
        }
        if let Err(refused) = self.commands.send(Command::Append(parts, Box::new(done)))
            && let Command::Append(parts, done) = refused.0
        {
            done(in_memory(parts, Vec::new()));
        }
    }

    /// Whether the last window could be appended.
    #[must_use]
    pub fn works(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    /// The body of a part that is going to be sent; none while the disk hangs; why it is gone, if it is.
    ///
    /// # Errors
    /// The part was evicted, or is damaged.
    pub async fn claim(&self, id: PartId) -> Result<Option<Bytes>, DropReason> {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Claim(id, answer));
        match tokio::time::timeout(DISK_HANGS, answered).await {
            Ok(Ok(claimed)) => claimed.map(Some),
            // The spool's thread is gone, or its disk hangs: the part stays there.
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// The part was not sent after all, or has to be sent again.
    pub fn release(&self, id: PartId) {
        let _ = self.commands.send(Command::Release(id));
    }

    /// An endpoint has the part.
    pub fn exported(&self, id: PartId, spooled: Spooled) {
        self.end(id, spooled, End::Exported);
    }

    /// The part is lost.
    pub fn dropped(&self, id: PartId, spooled: Spooled, reason: DropReason) {
        self.end(id, spooled, End::Dropped(reason));
    }

    fn end(&self, id: PartId, spooled: Spooled, end: End) {
        if let Err(refused) = self.commands.send(Command::End(id, spooled, end))
            && let Command::End(_, spooled, end) = refused.0
        {
            settle(spooled, end);
        }
    }

    /// The part goes on in memory; none when the spool's thread is gone, with the part on disk.
    pub async fn withdraw(&self, id: PartId, spooled: Spooled) -> Option<Pending> {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Withdraw(id, spooled, answer));
        answered.await.ok()
    }
}

pub(super) fn settle(spooled: Spooled, end: End) {
    match end {
        End::Exported => spooled.exported(),
        End::Dropped(reason) => spooled.dropped(reason),
    }
}

pub(super) fn in_memory(parts: Vec<(NewPart, Pending)>, evicted: Vec<PartId>) -> Spooling {
    Spooling { parts: parts.into_iter().map(|(part, pending)| Kept::Memory(part, pending)).collect(), evicted }
}
