//! The thread that owns the spool's storage, and with it the ledger's life across restarts.
//!
//! Every change of the ledger that concerns the spool happens here, between two saves of the ledger's state, so that
//! what is found after a kill can be told apart:
//! - a window is appended after a save that has its samples as pending, and counted as spooled before the next;
//! - a part is saved as in flight before an endpoint may see it;
//! - a part's end is counted before the save that lets its file go.
//!
//! A disk that hangs stalls this thread alone: windows then stay in memory.

mod handle;
mod poll;
mod restore;

pub use handle::{Kept, Spool, Spooling};
pub use restore::Found;

use crate::confine;
use crate::host::unix_ns;
use crate::spool::{Counts, NewPart, PartId, SpoolError, Store, StoredPart};
use crate::telemetry::ledger::{DropReason, Ledger, Pending, Snapshot};
use crate::telemetry::metrics::{Metric, Metrics};
use bytes::Bytes;
use handle::{Command, in_memory, settle};
use poll::{PollFile, Poller};
use restore::restore;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two saves: one poll of the ring buffer.
const SAVE: Duration = Duration::from_millis(100);
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
        metrics.set(Metric::SpoolLimit, "", max_bytes as f64);
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
