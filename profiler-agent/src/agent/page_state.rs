//! What the page is answered from.

use super::Shared;
use crate::aggregate;
use crate::canary::Canary;
use crate::config::RunConfig;
use crate::export::Exporter;
use crate::host;
use crate::output;
use crate::page::{Access, Downloads, PageState, Selection, Title};
use crate::profile::Profile;
use anyhow::Context as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Weak};

/// A longer token is a mistake.
const MAX_TOKEN_BYTES: u64 = 4096;

/// The first line of the file.
pub(super) fn token(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text));
    file.with_context(|| format!("cannot read the page's token from {}", path.display()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    anyhow::ensure!(!token.is_empty(), "the page's token in {} is empty", path.display());
    Ok(token.to_owned())
}

pub(super) fn page_state(
    config: &RunConfig,
    shared: &Shared,
    exporter: Option<&Arc<Exporter>>,
    canary: Option<Canary>,
    page_token: Option<String>,
) -> PageState {
    // A weak reference: the exporter is drained while the page still answers.
    let exporter = exporter.map(Arc::downgrade);
    let flow = Arc::clone(&shared.flow);
    let readiness = move || {
        let status = exporter.as_ref().and_then(Weak::upgrade).map(|exporter| exporter.status());
        flow.readiness(status.as_ref())?;
        canary.as_ref().map_or(Ok(()), Canary::readiness)
    };
    let title = Title {
        host: host::name(),
        version: env!("CARGO_PKG_VERSION").into(),
        frequency_hz: config.sample.frequency.into(),
        interval_ms: config.interval.as_millis() as u64,
        started_unix_ms: host::unix_ns() / 1_000_000,
        cpus: host::cpus(),
    };
    let access = Access { hosts: config.allowed_hosts.clone(), token: page_token, metrics_open: config.metrics_open };
    let downloads = Downloads {
        pprof: Box::new(|profiles, selection| Ok(output::pprof(&selected(profiles, selection))?)),
        folded: Box::new(|profiles, selection| Ok(output::folded(&selected(profiles, selection)).into_bytes())),
    };
    let Shared { ledger, metrics, history, .. } = shared.clone();
    PageState::new(history, ledger, metrics, Box::new(readiness), downloads, title, access)
}

/// The selected samples of many windows as one profile.
fn selected(profiles: &mut dyn Iterator<Item = Profile>, selection: &Selection) -> Profile {
    let profiles: Vec<Profile> = profiles.collect();
    aggregate::merge::merge_selected(&profiles, selection)
}
