//! How fast a backlog is replayed beside live windows.
//!
//! Pyroscope allows a tenant 4 MB/s, all nodes together, and after an outage every node has a backlog: each begins
//! slowly, goes faster as long as the server takes it, and halves its rate when the server asks for patience.

use std::time::{Duration, Instant};

/// Encoded bytes a second at first.
const START: f64 = 128.0 * 1024.0;
/// At least.
const MIN: f64 = 16.0 * 1024.0;
/// At most: an hour of a busy node in a minute or two.
const MAX: f64 = 1024.0 * 1024.0;
/// Growth with each part that was taken.
const GROWTH: f64 = 1.05;
/// Between two parts, however large.
const MAX_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: f64,
    next: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bytes_per_s: START, next: None }
    }
}

impl Pace {
    /// When the next part may go; none means now.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|&next| next > now)
    }

    /// A part of so many bytes goes now. The pause after it is between half and one and a half of what the rate
    /// says, so that many agents do not go in step.
    pub(super) fn went(&mut self, bytes: usize, now: Instant) {
        let jitter = 0.5 + rand::random::<f64>();
        let pause = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s * jitter);
        self.next = Some(now + pause.min(MAX_PAUSE));
    }

    /// The server took a part of the backlog.
    pub(super) fn taken(&mut self) {
        self.bytes_per_s = (self.bytes_per_s * GROWTH).min(MAX);
    }

    /// The server asked for patience.
    pub(super) fn slow_down(&mut self) {
        self.bytes_per_s = (self.bytes_per_s / 2.0).max(MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_in_proportion_to_bytes_and_jittered() {
        let now = Instant::now();
        let pauses: Vec<f64> = (0..1000)
            .map(|_| {
                let mut pace = Pace::default();
                pace.went(128 * 1024, now);
                (pace.not_before(now).unwrap() - now).as_secs_f64()
            })
            .collect();
        assert!(pauses.iter().all(|pause| (0.5..1.5).contains(pause)));
        let mean = pauses.iter().sum::<f64>() / 1000.0;
        assert!((0.95..1.05).contains(&mean), "{mean}");
        assert!(pauses.iter().any(|pause| *pause < 0.7) && pauses.iter().any(|pause| *pause > 1.3));
    }

    #[test]
    fn grows_to_a_cap_and_halves_to_a_floor() {
        let mut pace = Pace::default();
        (0..1000).for_each(|_| pace.taken());
        assert_eq!(pace.bytes_per_s, MAX);
        pace.slow_down();
        assert_eq!(pace.bytes_per_s, MAX / 2.0);
        (0..100).for_each(|_| pace.slow_down());
        assert_eq!(pace.bytes_per_s, MIN);
    }
}
