//! The workers: take the oldest part that is due, send it, do what its outcome asks for.

use super::Status;
use super::backlog::{Backlog, Entry, Next};
use super::backoff::with_hint;
use super::config::ExportConfig;
use super::link::{Attempt, Link, bounded};
use super::outcome::Outcome;
use super::request_headers::RequestHeaders;
use super::seldom::Seldom;
use crate::otlp::{Part, halve};
use crate::telemetry::ledger::{DropReason, Pending};
use crate::telemetry::metrics::{Metric, Metrics};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost::Message;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Answers other than yes for longer than this are a no: Pyroscope takes nothing older than an hour.
const GIVE_UP: Duration = Duration::from_secs(3600);
/// A part put off this often may be larger than the burst its tenant is allowed: smaller ones get through.
const SPLIT_AFTER: u32 = 6;
/// Parts below this are not split for being put off.
const MIN_SPLIT_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Sender {
    links: Vec<Link>,
    headers: RequestHeaders,
    metrics: Arc<Metrics>,
    backlog: Mutex<Backlog>,
    /// Something in the backlog changed, or an endpoint can be reached.
    changed: Notify,
    status: Mutex<Status>,
    seldom: Seldom,
}

impl Sender {
    pub(super) fn new(config: ExportConfig, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        anyhow::ensure!(!config.endpoints.is_empty(), "no endpoint to export to");
        let links = config.endpoints.iter().map(|endpoint| Link::new(endpoint.clone(), &config));
        Ok(Self {
            links: links.collect::<anyhow::Result<_>>()?,
            headers: RequestHeaders::new(&config)?,
            metrics,
            backlog: Mutex::new(Backlog::new(config.max_backlog_bytes)),
            changed: Notify::new(),
            status: Mutex::default(),
            seldom: Seldom::default(),
        })
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, parts: Vec<(Part, Pending)>) {
        // One lock per part: encoding takes milliseconds, and workers settle meanwhile.
        let evicted = parts.into_iter().map(|(part, pending)| self.backlog().push(&part, pending)).sum();
        self.say_evicted(evicted);
        self.changed.notify_waiters();
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
        while let Some(entry) = self.next().await {
            let bytes = entry.body.len();
            let again = match self.attempt(&entry).await {
                Some(attempt) => self.conclude(entry, attempt),
                None => vec![entry],
            };
            let evicted = self.backlog().settle(bytes, again);
            self.say_evicted(evicted);
            self.changed.notify_waiters();
        }
    }

    async fn next(&self) -> Option<Entry> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let until = match self.backlog().next(now, self.closed_until(now)) {
                Next::Send(entry) => return Some(entry),
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

    /// When the first endpoint may be tried again, if none may now.
    fn closed_until(&self, now: Instant) -> Option<Instant> {
        let closed = self.links.iter().map(|link| link.closed_until(now));
        // None is an endpoint that is open, and the least.
        closed.min().flatten()
    }

    /// One try: the first endpoint that can be reached; none when all are waited for.
    async fn attempt(&self, entry: &Entry) -> Option<Attempt> {
        let headers = match self.headers.read() {
            Ok(headers) => headers,
            Err(error) => return Some(Attempt::NotSent(bounded(&format!("{error:#}")))),
        };
        let mut unreached = None;
        for link in &self.links {
            if !entry.last && !link.claim(Instant::now()) {
                continue;
            }
            match link.send(entry.body.clone(), headers.clone()).await {
                attempt @ Attempt::NotReached(_) => unreached = Some(attempt),
                attempt => return Some(attempt),
            }
        }
        unreached
    }

    /// Ends the part, or gives back what is to be sent again.
    fn conclude(&self, mut entry: Entry, attempt: Attempt) -> Vec<Entry> {
        let (outcome, message) = match attempt {
            Attempt::NotReached(message) => return self.unreached(entry, message),
            Attempt::NotSent(message) => (Outcome::Retry { after: None }, message),
            Attempt::Answered(outcome, message) => {
                if std::mem::take(&mut entry.ambiguous) {
                    self.metrics.add(Metric::ExportAmbiguous, "", 1);
                }
                (outcome, message)
            }
        };
        self.metrics.add(Metric::ExportRequests, outcome.label(), 1);
        match outcome {
            Outcome::Accepted { rejected } => {
                self.accepted(entry, rejected, message);
                Vec::new()
            }
            Outcome::TooLarge => self.split(entry, message),
            Outcome::Refused => self.refuse(entry, message),
            Outcome::Retry { after } => {
                if entry.answers >= SPLIT_AFTER && entry.body.len() >= MIN_SPLIT_BYTES {
                    return self.split(entry, message);
                }
                self.again(entry, after, message)
            }
            Outcome::Ambiguous { after } => {
                entry.ambiguous = true;
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

    fn unreached(&self, entry: Entry, message: String) -> Vec<Entry> {
        self.metrics.add(Metric::ExportRequests, "unreachable", 1);
        self.fail(message);
        self.unless_last(entry)
    }

    fn again(&self, mut entry: Entry, after: Option<Duration>, message: String) -> Vec<Entry> {
        if entry.born.elapsed() > GIVE_UP {
            return self.refuse(entry, message);
        }
        if self.seldom.allows(&message) {
            tracing::warn!(reason = message, "export failed, tries again");
        }
        self.fail(message);
        entry.not_before = Some(Instant::now() + with_hint(entry.answers, after));
        entry.answers = entry.answers.saturating_add(1);
        self.unless_last(entry)
    }

    fn unless_last(&self, entry: Entry) -> Vec<Entry> {
        if entry.last {
            entry.dropped(DropReason::Shutdown);
            return Vec::new();
        }
        vec![entry]
    }

    fn split(&self, entry: Entry, message: String) -> Vec<Entry> {
        let request = ExportProfilesServiceRequest::decode(entry.body.clone()).unwrap_or_default();
        match halve(&request) {
            Some(halves) => entry.split(halves.map(Part::from)),
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
