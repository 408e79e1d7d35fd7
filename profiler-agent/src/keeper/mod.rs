//! The thread that owns the spool's storage, and with it the ledger's life across restarts.
//!
//! Every change of the ledger that concerns the spool happens here, between two saves of the ledger's state, so that
//! what is found after a kill can be told apart:
//! - a window is appended after a save that has its samples as pending, and counted as spooled before the next;
//! - a part is saved as in flight before an endpoint may see it;
//! - a part's end is counted before the save that lets its file go.
//!
//! A disk that hangs stalls this thread alone: windows then stay in memory.

mod poll;
mod restore;

pub use restore::Found;

use crate::confine;
use crate::host::unix_ns;
use crate::spool::{Counts, NewPart, PartId, SpoolError, Store, StoredPart};
use crate::telemetry::ledger::{DropReason, Ledger, Pending, Snapshot, Spooled};
use crate::telemetry::metrics::{Metric, Metrics};
use bytes::Bytes;
use poll::{PollFile, Poller};
use restore::restore;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Time between two saves: one poll of the ring buffer.
const SAVE: Duration = Duration::from_millis(100);
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

type Done = Box<dyn FnOnce(Spooling) + Send>;

/// How a part ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Exported,
    Dropped(DropReason),
}

enum Command {
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
    commands: Sender<Command>,
    /// Bytes.
    waiting: Arc<AtomicUsize>,
    works: Arc<AtomicBool>,
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

fn settle(spooled: Spooled, end: End) {
    match end {
        End::Exported => spooled.exported(),
        End::Dropped(reason) => spooled.dropped(reason),
    }
}

fn in_memory(parts: Vec<(NewPart, Pending)>, evicted: Vec<PartId>) -> Spooling {
    Spooling { parts: parts.into_iter().map(|(part, pending)| Kept::Memory(part, pending)).collect(), evicted }
}

/// The spool's thread.
#[derive(Debug)]
pub struct Keeper {
    spool: Spool,
    thread: JoinHandle<()>,
    poller: Poller,
}

impl Keeper {
    /// Opens the folder, lets the ledger go on where it ended, and starts the thread.
    ///
    /// # Errors
    /// The folder cannot be made or read, or another agent uses it.
    pub fn start(
        folder: &Path,
        max_bytes: u64,
        ledger: &Arc<Ledger>,
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, Found), SpoolError> {
        let (store, recovered) = Store::open(folder, max_bytes)?;
        let (file, last) = PollFile::open(folder).map_err(SpoolError::io("open", "poll"))?;
        let found = restore(recovered, last, ledger, metrics);
        let run = rand::random();
        let poller = Poller::start(file, folder, run, ledger).map_err(SpoolError::io("start the thread of", "poll"))?;
        let (commands, incoming) = channel();
        let spool = Spool { commands, waiting: Arc::default(), works: Arc::new(AtomicBool::new(true)) };
        let keeping = Keeping {
            store,
            ledger: Arc::clone(ledger),
            metrics: Arc::clone(metrics),
            waiting: Arc::clone(&spool.waiting),
            append_works: Arc::clone(&spool.works),
            in_flight: BTreeSet::new(),
            run,
            saved: Instant::now(),
            failing: None,
        };
        let own = folder.to_owned();
        let body = move || {
            confine::files_thread(&own);
            keeping.run(&incoming);
        };
        let thread = std::thread::Builder::new().name("spool".into()).spawn(body);
        let thread = thread.map_err(SpoolError::io("start the thread of", "."))?;
        Ok((Self { spool, thread, poller }, found))
    }

    /// For those who hand parts over.
    #[must_use]
    pub fn spool(&self) -> Spool {
        self.spool.clone()
    }

    /// Saves the last state. What is handed over later is not taken.
    pub fn finish(self) {
        self.poller.finish();
        let _ = self.spool.commands.send(Command::Finish);
        if self.thread.join().is_err() {
            tracing::error!("the spool's thread panicked");
        }
    }
}

struct Keeping {
    store: Store,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    waiting: Arc<AtomicUsize>,
    append_works: Arc<AtomicBool>,
    in_flight: BTreeSet<PartId>,
    run: u64,
    saved: Instant,
    /// What it cannot do at present.
    failing: Option<&'static str>,
}

impl Keeping {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            match commands.recv_timeout(SAVE.saturating_sub(self.saved.elapsed())) {
                Ok(Command::Finish) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(command) => self.execute(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.saved.elapsed() >= SAVE {
                self.save(false, false);
            }
        }
        // What was handed over before the end still counts.
        for command in commands.try_iter() {
            self.execute(command);
        }
        self.save(true, true);
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Append(parts, done) => {
                let bytes = parts.iter().map(|(part, _)| part.body.len()).sum();
                let spooling = self.append(parts);
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                done(spooling);
            }
            Command::Claim(id, answer) => {
                let claimed = self.claim(id);
                // Whoever asked has gone: nobody will send it.
                if answer.send(claimed).is_err() {
                    self.release(id);
                }
            }
            Command::Release(id) => self.release(id),
            Command::End(id, spooled, end) => {
                settle(spooled, end);
                self.end(id);
            }
            Command::Withdraw(id, spooled, answer) => {
                let pending = spooled.pending();
                self.end(id);
                if let Err(pending) = answer.send(pending) {
                    pending.dropped(DropReason::Shutdown);
                }
            }
            Command::Finish => {}
        }
    }

    fn append(&mut self, parts: Vec<(NewPart, Pending)>) -> Spooling {
        self.save(false, false);
        let (bodies, pendings): (Vec<NewPart>, Vec<Pending>) = parts.into_iter().unzip();
        match self.store.append(&bodies) {
            Ok(appended) => {
                let keep = |(part, mut pending): (StoredPart, Pending)| {
                    pending.recount(part.samples);
                    Kept::Disk(part, pending.spooled())
                };
                let parts = appended.stored.into_iter().zip(pendings).map(keep).collect();
                self.works("append");
                self.append_works.store(true, Ordering::Relaxed);
                self.metrics.set(Metric::SpoolBytes, "", self.store.bytes() as f64);
                self.save(false, true);
                Spooling { parts, evicted: appended.evicted.iter().map(|part| part.id).collect() }
            }
            Err(failed) => {
                self.fail("append", &failed.error);
                self.append_works.store(false, Ordering::Relaxed);
                let evicted = failed.evicted.iter().map(|part| part.id).collect();
                in_memory(bodies.into_iter().zip(pendings).collect(), evicted)
            }
        }
    }

    fn claim(&mut self, id: PartId) -> Result<Bytes, DropReason> {
        match self.store.read(id) {
            Ok(body) => {
                self.in_flight.insert(id);
                self.tell_in_flight();
                self.save(false, false);
                Ok(body)
            }
            Err(SpoolError::Missing { .. }) => Err(DropReason::SpoolFull),
            Err(error) => {
                self.fail("read", &error);
                Err(DropReason::SpoolLost)
            }
        }
    }

    fn release(&mut self, id: PartId) {
        if self.in_flight.remove(&id) {
            self.tell_in_flight();
        }
    }

    fn end(&mut self, id: PartId) {
        self.release(id);
        self.store.end(id);
        self.save(false, false);
        self.metrics.set(Metric::SpoolBytes, "", self.store.bytes() as f64);
    }

    fn tell_in_flight(&mut self) {
        let ids: Vec<PartId> = self.in_flight.iter().copied().collect();
        self.store.set_in_flight(&ids);
    }

    fn save(&mut self, clean: bool, sync: bool) {
        let Snapshot { taken, entered, exported, spooled, pending, dropped } = self.ledger.snapshot();
        let counts = Counts {
            run: self.run,
            taken,
            entered,
            exported,
            spooled,
            pending,
            dropped: dropped.into_iter().map(|(label, count)| (label.into_owned(), count)).collect(),
            ambiguous: self.metrics.get(Metric::ExportAmbiguous, "") as u64,
            gap_seconds: self.metrics.get(Metric::GapSeconds, ""),
            saved_unix_ns: unix_ns(),
            clean,
            in_flight: self.in_flight.iter().copied().collect(),
        };
        self.saved = Instant::now();
        match self.store.save(&counts, sync) {
            Ok(()) => self.works("save"),
            Err(error) => self.fail("save", &error),
        }
    }

    fn fail(&mut self, operation: &'static str, error: &SpoolError) {
        self.metrics.add(Metric::SpoolErrors, operation, 1);
        if self.failing.replace(operation).is_none() {
            tracing::error!(%error, "spool fails; windows stay in memory");
        }
    }

    fn works(&mut self, operation: &'static str) {
        if self.failing == Some(operation) {
            self.failing = None;
            tracing::info!("the spool works again");
        }
    }
}
