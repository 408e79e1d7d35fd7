//! A session and its budgets.

use super::Shared;
use crate::config::RunConfig;
use crate::governor::{Governing, Meter};
use crate::kubernetes::Enforcement;
use crate::session::Controls;
use std::sync::Arc;

pub(super) struct Governed {
    governing: Governing,
    meter: Meter,
    controls: Controls,
}

impl Governed {
    /// Of a session that begins at the configured frequency.
    pub(super) fn new(config: &RunConfig, shared: &Shared, controls: Controls) -> Self {
        let (pressure, metrics) = (shared.pressure.clone(), Arc::clone(&shared.metrics));
        let governing = Governing::new(config.budgets, config.sample.frequency, pressure, metrics);
        Self { governing, meter: Meter::new(controls.programs_ns()), controls }
    }

    /// The same session at another frequency and with other budgets.
    pub(super) fn reload(&mut self, config: &RunConfig) -> std::io::Result<()> {
        self.controls.set_frequency(config.sample.frequency)?;
        self.governing.begin_anew(config.budgets, config.sample.frequency);
        Ok(())
    }

    /// Has the session do what pods ask for.
    pub(super) fn enforce(&self, enforcement: &mut Enforcement) {
        enforcement.look(self.controls.rules());
    }

    /// Measures, and does what the budgets ask for.
    pub(super) fn look(&mut self) {
        let usage = self.meter.look(self.controls.programs_ns(), self.controls.map_bytes());
        self.governing.take(usage, &self.controls);
    }
}
