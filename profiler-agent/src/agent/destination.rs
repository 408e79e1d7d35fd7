//! Where windows go: to the hour in memory, and to the exporter.

use crate::canary::{Canary, Sent};
use crate::config::RunConfig;
use crate::export::Exporter;
use crate::history::History;
use crate::host;
use crate::kubernetes::LabelPreset;
use crate::otlp::{self, LabelStyle, MAX_PART_BYTES};
use crate::outgoing::{Outgoing, Prepared};
use crate::profile::Profile;
use crate::telemetry::ledger::{DropReason, Pending};
use crate::telemetry::lose;
use crate::telemetry::metrics::Metrics;
use std::sync::{Arc, Mutex, PoisonError};

/// How windows look when they are sent.
#[derive(Debug)]
pub(super) struct Shape {
    outgoing: Outgoing,
    label_style: LabelStyle,
}

impl Shape {
    pub(super) fn new(config: &RunConfig, metrics: &Arc<Metrics>) -> Self {
        let shared = resource(config);
        let outgoing = Outgoing::new(config.relabel.clone(), config.max_series, shared, Arc::clone(metrics));
        Self { outgoing, label_style: config.sample.label_style }
    }

    /// Goes on with another configuration.
    pub(super) fn reload(&mut self, config: &RunConfig) {
        self.outgoing.reload(config.relabel.clone(), config.max_series, resource(config));
        self.label_style = config.sample.label_style;
    }
}

/// Labels of every series. A pod has a host name of its own: the node's counts, where it is known.
fn resource(config: &RunConfig) -> Vec<(Arc<str>, Arc<str>)> {
    let host_name = config.kubernetes.node_name.clone().unwrap_or_else(host::name);
    let wanted = config.sample.pod_labels.preset == LabelPreset::Default;
    host::resource(wanted.then_some(&host_name), &config.sample.labels)
}

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) history: Arc<History>,
    pub(super) exporter: Option<Arc<Exporter>>,
    pub(super) canary: Option<Canary>,
    pub(super) shape: Mutex<Shape>,
}

impl Destination {
    /// The next windows look as another configuration has it.
    pub(super) fn reload(&self, config: &RunConfig) {
        self.shape.lock().unwrap_or_else(PoisonError::into_inner).reload(config);
    }

    /// Takes a window over; never waits.
    pub(super) fn take(&self, profile: Profile, pending: Pending) {
        let kept = self.history.add(&profile);
        if let Err(error) = &kept {
            tracing::warn!(%error, "a window does not fit into the hour kept in memory");
        }
        match &self.exporter {
            Some(exporter) => self.send(exporter, profile, pending),
            None if kept.is_ok() => pending.exported(),
            None => pending.dropped(DropReason::NotWritten),
        }
    }

    fn send(&self, exporter: &Exporter, profile: Profile, mut pending: Pending) {
        let mut shape = self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        let Prepared { profile, shared, dropped, common } = shape.outgoing.prepare(profile);
        let parts = otlp::parts(&profile, &shared, shape.label_style, MAX_PART_BYTES);
        drop(shape);
        pending.split(dropped).dropped(DropReason::Relabel);
        let mut sent = Vec::with_capacity(parts.len());
        for mut part in parts {
            let share = pending.split(part.samples);
            if lose::one("encode") {
                part.samples -= 1;
            }
            sent.push((part, share));
        }
        let receipt = self.canary.as_ref().map(|canary| canary.receipt(Sent::new(&profile, common)));
        exporter.send(sent, receipt);
    }
}
