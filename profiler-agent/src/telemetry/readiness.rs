//! Whether the agent does its work: samples flow, and exports are accepted.

use crate::export::Status;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Intervals without a sample or an accepted export until the agent is no longer ready.
const PATIENCE: u32 = 3;

/// Notes when the number of samples last grew.
#[derive(Debug)]
pub struct Flow {
    patience: Duration,
    last: Mutex<(u64, Option<Instant>)>,
}

impl Flow {
    /// For windows of this length.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { patience: interval * PATIENCE, last: Mutex::new((0, None)) }
    }

    /// Samples taken so far.
    pub fn note(&self, taken: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if taken > last.0 {
            *last = (taken, Some(Instant::now()));
        }
    }

    /// Why the agent is not ready, if it is not. `export` is none without an endpoint.
    pub fn readiness(&self, export: Option<&Status>) -> Result<(), String> {
        let flowed = self.last.lock().unwrap_or_else(PoisonError::into_inner).1;
        self.recent(flowed, "no sample yet", "no sample")?;
        let Some(status) = export else { return Ok(()) };
        self.recent(status.last_accepted, "no export accepted yet", "no export accepted").map_err(
            |reason| match &status.last_error {
                Some(error) => format!("{reason}: {error}"),
                None => reason,
            },
        )
    }

    fn recent(&self, last: Option<Instant>, never: &str, stale: &str) -> Result<(), String> {
        match last {
            None => Err(never.to_owned()),
            Some(last) if last.elapsed() > self.patience => Err(format!("{stale} for {} s", last.elapsed().as_secs())),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_while_samples_flow_and_exports_are_accepted() {
        let flow = Flow::new(Duration::from_millis(10));
        assert_eq!(flow.readiness(None).unwrap_err(), "no sample yet");
        flow.note(1);
        assert!(flow.readiness(None).is_ok());
        let refused = Status { last_error: Some("refused".into()), ..Status::default() };
        assert_eq!(flow.readiness(Some(&refused)).unwrap_err(), "no export accepted yet: refused");
        let accepted = Status { last_accepted: Some(Instant::now()), ..Status::default() };
        assert!(flow.readiness(Some(&accepted)).is_ok());
        std::thread::sleep(Duration::from_millis(40));
        flow.note(1);
        assert!(flow.readiness(None).unwrap_err().starts_with("no sample for"));
    }
}
