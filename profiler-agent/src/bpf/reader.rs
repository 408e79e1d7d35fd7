//! The thread that empties the kernel's rings.
//!
//! It polls: a sample does not wake it, except the first one of a process, which may be gone soon. Records of all
//! rings are put in order of time. It never waits for anybody: samples that nobody takes are dropped and counted.

use super::event::{self, Event, Lost, monotonic_ns};
use super::load::Loaded;
use super::rates::Reported;
use super::sampled::Sampled;
use super::sideband::Sideband;
use crate::confine;
use crate::telemetry::ledger::{DropReason, Ledger, Pending};
use crate::telemetry::lose;
use crate::telemetry::metrics::{Metric, Metrics};
use profiler_common::limits::MAX_SEEN;
use rustix::event::{Timespec, epoll};
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest time a record waits in a ring.
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Shortest time between two polls: new processes cannot keep the thread busy.
const MIN_PAUSE: Duration = Duration::from_millis(5);
/// How often CPUs are looked at.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often the filter is looked through.
const FILTER_NS: u64 = 10_000_000_000;
/// How often mappings that nobody reports are taken for changed.
const UNREPORTED_NS: u64 = 1_000_000_000;
/// `BPF_RINGBUF_HDR_SZ`.
const RECORD_HEADER_BYTES: u64 = 8;
/// Events kept while nobody takes them.
const MAX_HELD_EVENTS: usize = 100_000;
/// Samples among them: 20 MiB of deep stacks.
const MAX_HELD_SAMPLES: u64 = 20_000;

/// What one poll brought, in order of time.
#[derive(Debug)]
pub struct Batch {
    /// The events.
    pub events: Vec<Event>,
    /// Stands for the samples among them.
    pub pending: Pending,
}

/// The running reader.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    /// Starts reading into `sink`.
    pub fn start(
        loaded: Loaded,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
        sink: SyncSender<Batch>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let wakers = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (held, later, lost) = (None, Vec::new(), false);
        let (sampled, shed) = (Sampled::default(), Cell::new(0));
        let mut polling = Polling {
            loaded,
            ledger,
            metrics,
            sink,
            wakers,
            held,
            later,
            lost,
            sampled,
            shed,
            most_bytes: 0,
            filter_ns: 0,
            unreported_ns: 0,
        };
        polling.watch();
        let body = move || {
            confine::reader_thread();
            polling.run(&flag);
        };
        let thread = std::thread::Builder::new().name("ring-reader".into()).spawn(body)?;
        Ok(Self { stop, thread })
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends sampling, reads what is left, hands it on and closes the channel.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the ring reader panicked");
        }
    }
}

struct Polling {
    loaded: Loaded,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    sink: SyncSender<Batch>,
    /// The rings, for waiting.
    wakers: OwnedFd,
    /// What waits for room in the channel.
    held: Option<Batch>,
    /// Mappings younger than the samples read so far.
    later: Vec<Event>,
    /// Whether events went missing since the last batch.
    lost: bool,
    /// Those whose mappings are of interest even when others are left out.
    sampled: Sampled,
    /// Most bytes that a poll found in the ring buffer since the last report.
    most_bytes: u64,
    /// When the filter was looked at.
    filter_ns: u64,
    /// Forks and exits left out, as far as counted.
    shed: Cell<u64>,
    /// When mappings that nobody reports were last taken for changed.
    unreported_ns: u64,
}

impl Polling {
    fn run(&mut self, stop: &AtomicBool) {
        let mut followed = Instant::now();
        while !stop.load(Ordering::Acquire) {
            self.wait();
            if followed.elapsed() >= FOLLOW_EVERY {
                followed = Instant::now();
                if let Err(error) = self.loaded.sampling.follow() {
                    tracing::warn!(%error, "cannot follow CPUs");
                }
                self.watch();
                self.report();
            }
            self.poll();
            std::thread::sleep(MIN_PAUSE);
        }
        let mut sidebands = self.loaded.sampling.stop();
        let mut mappings = std::mem::take(&mut self.later);
        for sideband in &mut sidebands {
            self.lost |= drain(sideband, &mut mappings, |_| true, &self.metrics);
        }
        self.later = mappings;
        self.poll();
        self.hand_on_last();
        self.report();
    }

    /// Adds the rings to what wakes the thread; those already there stay. Edge-triggered: a wake-up counts, data that
    /// merely waits does not.
    fn watch(&mut self) {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let _ = epoll::add(&self.wakers, &self.loaded.ring, epoll::EventData::new_u64(0), flags);
        for sideband in self.loaded.sampling.sidebands() {
            let _ = epoll::add(&self.wakers, sideband.event(), epoll::EventData::new_u64(0), flags);
        }
    }

    fn wait(&self) {
        let mut woken = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 8];
        let _ = epoll::wait(&self.wakers, &mut woken[..], Some(&POLL));
    }

    fn poll(&mut self) {
        let polled_ns = monotonic_ns();
        let (mut events, held) = self.held.take().map_or((Vec::new(), None), |held| (held.events, Some(held.pending)));
        let mut pending = self.read_ring(&mut events);
        held.into_iter().for_each(|held| pending.merge(held));
        self.read_sidebands(&mut events, polled_ns);
        self.lost |= self.is_unreported(polled_ns) && !events.is_empty();
        if std::mem::take(&mut self.lost) {
            events.push(Event::Lost { time_ns: polled_ns, whose: Lost::Any });
        }
        if self.loaded.rates.reported() != Reported::All && !events.is_empty() {
            events.push(Event::Lost { time_ns: polled_ns, whose: Lost::Unsampled });
        }
        events.sort_by_key(Event::time_ns);
        self.hand_on(Batch { events, pending });
        if let Some(logger) = &mut self.loaded.logger {
            logger.flush();
        }
    }

    /// Switches the side bands as the rates say; whether mappings may have changed with nobody to report it.
    fn is_unreported(&mut self, now_ns: u64) -> bool {
        let reports = self.loaded.rates.reported() != Reported::None;
        let switched = self.loaded.sampling.report_mappings(reports).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot switch the reports of mappings");
            true
        });
        let due = switched || !reports && self.unreported_ns + UNREPORTED_NS <= now_ns;
        if due {
            self.unreported_ns = now_ns;
        }
        due
    }

    fn read_ring(&mut self, events: &mut Vec<Event>) -> Pending {
        let (mut count, mut malformed, mut bytes) = (0, 0, 0);
        let mut sequences: Vec<(u32, u64)> = Vec::new();
        while let Some(record) = self.loaded.ring.next() {
            bytes += RECORD_HEADER_BYTES + record.len().next_multiple_of(8) as u64;
            match event::decode(&record) {
                Some(Event::Sample(sample)) => {
                    note(&mut sequences, sample.header.cpu, sample.header.sequence);
                    if lose::one("reader") {
                        continue;
                    }
                    count += 1;
                    self.sampled.note(sample.header.tgid, sample.header.time_ns);
                    events.push(Event::Sample(sample));
                }
                Some(event) => events.push(event),
                None => match event::sample_header(&record) {
                    Some(header) => {
                        note(&mut sequences, header.cpu, header.sequence);
                        malformed += 1;
                    }
                    None => self.lost = true,
                },
            }
        }
        self.most_bytes = self.most_bytes.max(bytes);
        let mut pending = self.ledger.receive(&sequences, count + malformed);
        pending.split(malformed).dropped(DropReason::Malformed);
        pending
    }

    /// Mappings made before the ring was read belong before its samples; younger ones wait for the next poll.
    fn read_sidebands(&mut self, events: &mut Vec<Event>, polled_ns: u64) {
        let mut mappings = std::mem::take(&mut self.later);
        let Self { loaded, sampled, metrics, .. } = self;
        let all = loaded.rates.reported() == Reported::All;
        for sideband in loaded.sampling.sidebands() {
            self.lost |= drain(sideband, &mut mappings, |tgid| all || sampled.contains(tgid), metrics);
        }
        let (now, later): (Vec<Event>, _) = mappings.into_iter().partition(|mapping| mapping.time_ns() <= polled_ns);
        self.later = later;
        events.extend(now);
    }

    fn hand_on(&mut self, batch: Batch) {
        if batch.events.is_empty() {
            return;
        }
        match self.sink.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => self.hold(batch),
        }
    }

    /// Keeps a batch for the next try; too large a one loses its samples, then everything.
    fn hold(&mut self, mut batch: Batch) {
        if batch.pending.count() > MAX_HELD_SAMPLES {
            batch.pending.split(u64::MAX).dropped(DropReason::QueueFull);
            batch.events.retain(|event| !matches!(event, Event::Sample(_)));
        }
        if batch.events.len() > MAX_HELD_EVENTS {
            self.lost = true;
            self.metrics.add(Metric::EventsLost, "queue_full", batch.events.len() as u64);
            return batch.pending.dropped(DropReason::QueueFull);
        }
        self.held = Some(batch);
    }

    /// Sampling has ended: the last batch may wait for its taker.
    fn hand_on_last(&mut self) {
        if let Some(Err(refused)) = self.held.take().map(|batch| self.sink.send(batch)) {
            refused.0.pending.dropped(DropReason::QueueFull);
        }
    }

    fn report(&mut self) {
        self.report_maps();
        self.metrics.set(Metric::BpfRunSeconds, "", self.loaded.counters.run_ns() as f64 / 1e9);
        let shed = self.loaded.counters.events_shed();
        self.metrics.add(Metric::EventsLost, "shed", shed - self.shed.replace(shed));
        self.metrics.set(Metric::EventsLost, "ring_full", self.loaded.counters.events_lost() as f64);
        self.metrics.set(Metric::MapBytes, "", self.loaded.map_bytes as f64);
    }
}

impl Polling {
    /// How full the maps are that the reader knows of. The ring may have been emptied while it was filled: a bound.
    fn report_maps(&mut self) {
        let Self { loaded, metrics, .. } = self;
        let ratio = std::mem::take(&mut self.most_bytes) as f64 / loaded.ring_bytes as f64;
        metrics.set(Metric::MapUsed, "events", ratio.min(1.0));
        metrics.set(Metric::MapUsed, "seen", (self.sampled.len() as f64 / f64::from(MAX_SEEN)).min(1.0));
        let now_ns = monotonic_ns();
        if let Some(filter) = loaded.filter.as_mut().filter(|_| self.filter_ns + FILTER_NS <= now_ns) {
            self.filter_ns = now_ns;
            filter.report(&loaded.counters, metrics);
        }
    }
}

/// Reads all that is there of wanted processes; whether something went missing.
fn drain(sideband: &mut Sideband, into: &mut Vec<Event>, wants: impl Fn(u32) -> bool, metrics: &Metrics) -> bool {
    let (lost, shed) = sideband.drain(into, wants);
    metrics.add(Metric::EventsLost, "side_band", lost);
    metrics.add(Metric::EventsLost, "shed", shed);
    lost > 0
}

fn note(sequences: &mut Vec<(u32, u64)>, cpu: u32, sequence: u64) {
    match sequences.iter_mut().find(|(known, _)| *known == cpu) {
        Some((_, last)) => *last = sequence,
        None => sequences.push((cpu, sequence)),
    }
}
