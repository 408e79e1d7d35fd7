//! Where windows go: to the hour in memory, and to the exporter.

use crate::config::RunConfig;
use crate::export::Exporter;
use crate::history::History;
use crate::host;
use crate::otlp::{self, LabelStyle, MAX_PART_BYTES};
use crate::profile::Profile;
use crate::telemetry::ledger::{DropReason, Pending};
use crate::telemetry::lose;
use std::sync::{Arc, PoisonError, RwLock};

/// How windows look when they are sent.
#[derive(Debug)]
pub(super) struct Shape {
    resource: Vec<(Arc<str>, Arc<str>)>,
    label_style: LabelStyle,
}

impl Shape {
    pub(super) fn new(config: &RunConfig) -> Self {
        Self { resource: host::resource(&config.sample.labels), label_style: config.sample.label_style }
    }
}

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) history: Arc<History>,
    pub(super) exporter: Option<Arc<Exporter>>,
    pub(super) shape: Arc<RwLock<Shape>>,
}

impl Destination {
    /// Takes a window over; never waits.
    pub(super) fn take(&self, profile: &Profile, pending: Pending) {
        let kept = self.history.add(profile);
        if let Err(error) = &kept {
            tracing::warn!(%error, "a window does not fit into the hour kept in memory");
        }
        match &self.exporter {
            Some(exporter) => self.send(exporter, profile, pending),
            None if kept.is_ok() => pending.exported(),
            None => pending.dropped(DropReason::NotWritten),
        }
    }

    fn send(&self, exporter: &Exporter, profile: &Profile, mut pending: Pending) {
        let shape = self.shape.read().unwrap_or_else(PoisonError::into_inner);
        let parts = otlp::parts(profile, &shape.resource, shape.label_style, MAX_PART_BYTES);
        drop(shape);
        let mut sent = Vec::with_capacity(parts.len());
        for mut part in parts {
            let share = pending.split(part.samples);
            if lose::one("encode") {
                part.samples -= 1;
            }
            sent.push((part, share));
        }
        exporter.send(sent, None);
    }
}
