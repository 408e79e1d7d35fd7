//! The main thread once all runs: it reloads on SIGHUP, ends on SIGTERM and SIGINT, and tells systemd how it stands.

use super::destination::Destination;
use super::governed::Governed;
use super::network::Network;
use super::orders::Order;
use super::{Reread, Shared, session};
use crate::config::RunConfig;
use crate::confine::Rules;
use crate::keeper::Keeper;
use crate::kubernetes::Enforcement;
use crate::session::Session;
use crate::telemetry::metrics::Metric;
use anyhow::Context as _;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long sending what is left may take after SIGTERM; Kubernetes waits thirty seconds.
const DRAIN: Duration = Duration::from_secs(10);
/// The same with a spool, where the rest stays for the next agent, which shall not wait.
const DRAIN_TO_SPOOL: Duration = Duration::from_secs(2);
/// How often the threads are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The network's thread hangs when it says nothing for so long.
const HANGS: Duration = Duration::from_secs(30);

pub(super) struct Supervisor {
    pub(super) config: RunConfig,
    pub(super) shared: Shared,
    pub(super) destination: Arc<Destination>,
    /// None while it is replaced.
    pub(super) session: Option<Session>,
    pub(super) network: Network,
    pub(super) keeper: Option<Keeper>,
    pub(super) governed: Governed,
    pub(super) enforcement: Enforcement,
}

impl Supervisor {
    /// Until told to stop, or until a part of the agent has failed.
    pub(super) fn supervise(mut self, orders: &Receiver<Order>, reread: Reread<'_>) -> anyhow::Result<()> {
        tell(&[NotifyState::Ready]);
        let mut pulse = Pulse { looks: 0, at: Instant::now() };
        let mut next = Instant::now() + LOOK;
        let failed = loop {
            match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Order::Reload) => {
                    if let Err(error) = self.reload(reread) {
                        break Some(error);
                    }
                }
                Ok(Order::Stop) => break None,
                Ok(Order::Pods) => self.governed.enforce(&mut self.enforcement),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Some(anyhow::anyhow!("the network's thread failed")),
            }
            if next > Instant::now() {
                continue;
            }
            next += LOOK;
            self.governed.look();
            self.governed.enforce(&mut self.enforcement);
            if !self.session.as_ref().is_some_and(Session::is_alive) {
                break Some(anyhow::anyhow!("a stage of the pipeline failed, see above"));
            }
            if pulse.beats(&self.network) {
                tell(&[NotifyState::Watchdog]);
            }
        };
        tell(&[NotifyState::Stopping]);
        let ended = self.end();
        failed.map_or(ended, Err)
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.session.take().into_iter().for_each(Session::finish);
        drop(self.destination);
        let drain = if self.keeper.is_some() { DRAIN_TO_SPOOL } else { DRAIN };
        let ended = self.network.finish(Instant::now() + drain);
        self.keeper.into_iter().for_each(Keeper::finish);
        tracing::info!("{}", self.shared.ledger.snapshot());
        ended
    }

    /// Reads the configuration again; one with mistakes changes nothing.
    ///
    /// # Errors
    /// Sampling cannot go on.
    fn reload(&mut self, reread: Reread<'_>) -> anyhow::Result<()> {
        tell(&[NotifyState::Reloading, NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Status("reloading"))]);
        let outcome = match reread() {
            Ok(config) => self.change(config),
            Err(mistakes) => {
                tracing::error!("SIGHUP: the configuration stays as it was: {mistakes}");
                Ok("refused")
            }
        };
        tell(&[NotifyState::Ready]);
        self.shared.metrics.add(Metric::ConfigReloads, outcome?, 1);
        Ok(())
    }

    fn change(&mut self, new: RunConfig) -> anyhow::Result<&'static str> {
        let stays = needs_restart(&self.config, &new);
        if !stays.is_empty() {
            tracing::warn!(settings = stays.join(", "), "SIGHUP: these take effect after a restart");
        }
        if let Some(exporter) = &self.destination.exporter
            && !new_ports(&self.config, &new)
            && let Err(error) = exporter.redirect(&new.export)
        {
            tracing::error!("SIGHUP: the configuration stays as it was: {error:#}");
            return Ok("refused");
        }
        self.destination.reload(&new);
        let old = std::mem::replace(&mut self.config, new);
        if old.sampling_differs(&self.config) {
            self.replace_session(old)?;
        } else if (old.sample.frequency, old.budgets) != (self.config.sample.frequency, self.config.budgets) {
            self.governed.reload(&self.config).context("cannot change the frequency")?;
        }
        tracing::info!("SIGHUP: configuration reloaded");
        Ok("accepted")
    }

    /// One session ends before the next begins: no CPU is sampled twice.
    fn replace_session(&mut self, old: RunConfig) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.session.take().into_iter().for_each(Session::finish);
        let mut start = |config: &RunConfig| {
            self.enforcement.begin_anew();
            session(config, &self.shared, &self.destination, &mut self.enforcement)
        };
        let started = start(&self.config).or_else(|error| {
            tracing::error!("SIGHUP: sampling goes on as it was: {error:#}");
            self.config = old;
            start(&self.config)
        });
        let started = started.context("sampling cannot go on")?;
        self.governed = Governed::new(&self.config, &self.shared, started.controls());
        self.session = Some(started);
        tracing::info!(gap_ms = begun.elapsed().as_millis() as u64, "sampling anew");
        Ok(())
    }
}

/// The network's thread is confined to the ports of its start.
fn new_ports(old: &RunConfig, new: &RunConfig) -> bool {
    let old = Rules::of(old);
    !new.export.endpoints.iter().all(|endpoint| old.connect_ports.contains(&endpoint.port()))
}

/// Settings whose change a running agent does not take.
fn needs_restart(old: &RunConfig, new: &RunConfig) -> Vec<&'static str> {
    let settings = [
        ("endpoint (the first, or none)", old.export.endpoints.is_empty() != new.export.endpoints.is_empty()),
        ("endpoint (another port)", new_ports(old, new)),
        ("canary-url and its credentials", old.canary != new.canary),
        (
            "kubernetes, node-name, kubernetes-account, annotation-prefix, default-enabled",
            old.kubernetes != new.kubernetes,
        ),
        ("container-sockets", old.container_sockets != new.container_sockets),
        ("debuginfod", old.debuginfod != new.debuginfod),
        ("spool-dir, spool-max-bytes", old.spool != new.spool),
        ("listen", old.listen != new.listen),
        ("page-token-file", old.page_token_file != new.page_token_file),
        ("metrics-open", old.metrics_open != new.metrics_open),
        ("allowed-host", old.allowed_hosts != new.allowed_hosts),
        ("log-level, log-format", old.sample.log != new.sample.log),
    ];
    settings.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Whether the network's thread goes on.
struct Pulse {
    looks: u64,
    at: Instant,
}

impl Pulse {
    fn beats(&mut self, network: &Network) -> bool {
        let looks = network.looks();
        if looks != self.looks {
            *self = Self { looks, at: Instant::now() };
        }
        self.at.elapsed() < HANGS
    }
}

/// Tells systemd, where it listens.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
