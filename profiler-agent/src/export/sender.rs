//! The workers: take the oldest part that is due, send it, do what its outcome asks for.

use super::Status;
use super::backlog::{Backlog, Kind, Next, in_memory};
use super::backoff::with_hint;
use super::config::ExportConfig;
use super::entry::Entry;
use super::link::{Attempt, Link, bounded};
use super::outcome::Outcome;
use super::request_headers::RequestHeaders;
use super::seldom::Seldom;
use crate::host::unix_ns;
use crate::otlp::{Part, halve};
use crate::spool::PartId;
use crate::telemetry::ledger::DropReason;
use crate::telemetry::metrics::{Metric, Metrics};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost::Message;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A part put off this often may be larger than the burst its tenant is allowed: smaller ones get through.
const SPLIT_AFTER: u32 = 6;
/// Parts below this are not split for being put off.
const MIN_SPLIT_BYTES: usize = 64 * 1024;

/// Where parts go and with which headers.
#[derive(Debug)]
struct Route {
    links: Vec<Link>,
    headers: RequestHeaders,
}

impl Route {
    fn new(config: &ExportConfig) -> anyhow::Result<Self> {
        anyhow::ensure!(!config.endpoints.is_empty(), "no endpoint to export to");
        let links = config.endpoints.iter().map(|endpoint| Link::new(endpoint.clone(), config));
        Ok(Self { links: links.collect::<anyhow::Result<_>>()?, headers: RequestHeaders::new(config)? })
    }

    /// When the first endpoint may be tried again, if none may now.
    fn closed_until(&self, now: Instant) -> Option<Instant> {
        let closed = self.links.iter().map(|link| link.closed_until(now));
        // None is an endpoint that is open, and the least.
        closed.min().flatten()
    }

    /// One try: the first endpoint that can be reached; none when all are waited for.
    async fn attempt(&self, body: &Bytes, last: bool) -> Option<Attempt> {
        let headers = match self.headers.read() {
            Ok(headers) => headers,
            Err(error) => return Some(Attempt::NotSent(bounded(&format!("{error:#}")))),
        };
        let mut unreached = None;
        for link in &self.links {
            if !last && !link.claim(Instant::now()) {
                continue;
            }
            match link.send(body.clone(), headers.clone()).await {
                attempt @ Attempt::NotReached(_) => unreached = Some(attempt),
                attempt => return Some(attempt),
            }
        }
        unreached
    }
}

#[derive(Debug)]
pub(super) struct Sender {
    route: Mutex<Arc<Route>>,
    metrics: Arc<Metrics>,
    backlog: Mutex<Backlog>,
    /// Something in the backlog changed, or an endpoint can be reached.
    changed: Notify,
    status: Mutex<Status>,
    seldom: Seldom,
}

impl Sender {
    pub(super) fn new(config: &ExportConfig, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        Ok(Self {
            route: Mutex::new(Arc::new(Route::new(config)?)),
            metrics,
            backlog: Mutex::new(Backlog::new(config.max_backlog_bytes)),
            changed: Notify::new(),
            status: Mutex::default(),
            seldom: Seldom::default(),
        })
    }

    /// From the next try on, parts go where this says.
    pub(super) fn redirect(&self, config: &ExportConfig) -> anyhow::Result<()> {
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Route::new(config)?);
        self.changed.notify_waiters();
        Ok(())
    }

    fn route(&self) -> Arc<Route> {
        Arc::clone(&self.route.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes parts in.
    pub(super) fn push(&self, entries: Vec<Entry>) {
        let mut backlog = self.backlog();
        let evicted = entries.into_iter().map(|entry| backlog.push(entry)).sum();
        drop(backlog);
        self.say_evicted(evicted);
        self.changed.notify_waiters();
    }

    /// Takes out what waits in memory.
    pub(super) fn take_memory(&self) -> Vec<Entry> {
        self.backlog().take_memory()
    }

    /// The spool has no room for these any more.
    pub(super) fn evicted(&self, ids: &[PartId]) {
        if !ids.is_empty() {
            self.backlog().evicted(ids);
            if self.seldom.allows("spool full") {
                tracing::error!(parts = ids.len(), "spool full, the oldest parts are dropped");
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        let (backlog_parts, backlog_bytes) = self.backlog().size();
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status { backlog_parts, backlog_bytes, ..status }
    }

    pub(super) fn close(&self) {
        self.backlog().close();
        self.changed.notify_waiters();
    }

    pub(super) fn give_up(&self) {
        self.backlog().clear();
    }

    /// Sends parts until the backlog is closed and empty.
    pub(super) async fn work(self: Arc<Self>) {
        while let Some((entry, kind)) = self.next().await {
            let bytes = in_memory(&entry);
            let again = self.send(entry, kind).await;
            let evicted = self.backlog().settle(kind, bytes, again);
            self.say_evicted(evicted);
            self.changed.notify_waiters();
        }
    }

    async fn next(&self) -> Option<(Entry, Kind)> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let until = match self.backlog().next(now, unix_ns(), self.route().closed_until(now)) {
                Next::Send(entry, kind) => return Some((entry, kind)),
                Next::Finished => return None,
                Next::Wait(until) => until,
            };
            match until {
                Some(until) => {
                    let _ = tokio::time::timeout_at(until.into(), changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// One try; what is to be sent again.
    async fn send(&self, mut entry: Entry, kind: Kind) -> Vec<Entry> {
        let body = match entry.body().await {
            Ok(Some(body)) => body,
            Ok(None) => return self.again(entry, None, "the spool's disk hangs".to_owned()),
            Err(reason) => {
                entry.dropped(reason);
                return Vec::new();
            }
        };
        entry.sending(&self.metrics);
        let attempt = self.route().attempt(&body, entry.last).await;
        entry.answered();
        let mut again = match attempt {
            Some(attempt) => self.conclude(entry, kind, attempt, &body).await,
            None => vec![entry],
        };
        again.iter_mut().for_each(Entry::release);
        again
    }

    /// Ends the part, or gives back what is to be sent again.
    async fn conclude(&self, entry: Entry, kind: Kind, attempt: Attempt, body: &Bytes) -> Vec<Entry> {
        let (outcome, message) = match attempt {
            Attempt::NotReached(message) => return self.unreached(entry, message),
            Attempt::NotSent(message) => (Outcome::Retry { after: None }, message),
            Attempt::Answered(outcome, message) => (outcome, message),
        };
        self.metrics.add(Metric::ExportRequests, outcome.label(), 1);
        match outcome {
            Outcome::Accepted { rejected } => {
                if kind == Kind::Replay {
                    self.backlog().pace().taken();
                }
                self.accepted(entry, rejected, message);
                Vec::new()
            }
            Outcome::TooLarge => self.split(entry, body, message).await,
            Outcome::Refused => self.refuse(entry, message),
            Outcome::Retry { after } => {
                self.backlog().pace().slow_down();
                if entry.answers >= SPLIT_AFTER && entry.bytes >= MIN_SPLIT_BYTES {
                    return self.split(entry, body, message).await;
                }
                self.again(entry, after, message)
            }
            Outcome::Ambiguous { after } => {
                // The server may keep it whatever becomes of it here.
                self.metrics.add(Metric::ExportAmbiguous, "", entry.samples);
                self.again(entry, after, message)
            }
        }
    }

    fn accepted(&self, entry: Entry, rejected: u64, message: String) {
        if rejected > 0 {
            // One profile per request: whatever was rejected is all of it.
            if self.seldom.allows(&message) {
                tracing::error!(reason = message, "endpoint rejected a profile");
            }
            self.fail(message);
            return entry.dropped(DropReason::Rejected);
        }
        if !message.is_empty() && self.seldom.allows(&message) {
            tracing::warn!(reason = message, "endpoint accepted a profile with a warning");
        }
        entry.exported();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_accepted = Some(Instant::now());
        status.last_error = None;
    }

    fn unreached(&self, mut entry: Entry, message: String) -> Vec<Entry> {
        entry.live = false;
        self.metrics.add(Metric::ExportRequests, "unreachable", 1);
        self.fail(message);
        self.unless_last(entry)
    }

    fn again(&self, mut entry: Entry, after: Option<Duration>, message: String) -> Vec<Entry> {
        if self.seldom.allows(&message) {
            tracing::warn!(reason = message, "export failed, tries again");
        }
        self.fail(message);
        entry.live = false;
        entry.not_before = Some(Instant::now() + with_hint(entry.answers, after));
        entry.answers = entry.answers.saturating_add(1);
        self.unless_last(entry)
    }

    fn unless_last(&self, entry: Entry) -> Vec<Entry> {
        match (entry.last, entry.disk_id()) {
            (false, _) => vec![entry],
            (true, None) => {
                entry.dropped(DropReason::Shutdown);
                Vec::new()
            }
            (true, Some(_)) => Vec::new(),
        }
    }

    async fn split(&self, entry: Entry, body: &Bytes, message: String) -> Vec<Entry> {
        let request = ExportProfilesServiceRequest::decode(body.clone()).unwrap_or_default();
        match halve(&request) {
            Some(halves) => entry.split(halves.map(Part::from)).await,
            None => self.refuse(entry, message),
        }
    }

    fn refuse(&self, entry: Entry, message: String) -> Vec<Entry> {
        if self.seldom.allows(&message) {
            tracing::error!(reason = message, "endpoint refused a profile for good");
        }
        self.fail(message);
        entry.dropped(DropReason::Refused);
        Vec::new()
    }

    fn fail(&self, message: String) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(message);
    }

    fn say_evicted(&self, evicted: usize) {
        if evicted > 0 && self.seldom.allows("backlog full") {
            tracing::error!(parts = evicted, "export backlog full, the oldest parts are dropped");
        }
    }
}
