//! The windows, bounded by age and bytes.

use super::packed::{pack, unpack};
use crate::governor::Pressure;
use crate::profile::Profile;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a window is kept.
pub const MAX_AGE: Duration = Duration::from_secs(3600);

/// Memory for the windows unless told otherwise.
pub const DEFAULT_MAX_BYTES: usize = 16 << 20;

/// Why a window was not kept.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It alone is larger than the budget.
    #[error("window of {bytes} bytes is larger than the history's budget of {max_bytes} bytes")]
    TooLarge {
        /// Packed size.
        bytes: usize,
        /// The budget.
        max_bytes: usize,
    },
    /// It could not be packed.
    #[error("window cannot be packed: {0}")]
    Encode(String),
}

/// A kept window without its stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSummary {
    /// Start in Unix nanoseconds.
    pub start_unix_ns: u64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Samples of all services.
    pub samples: u64,
    /// CPU time those samples stand for, in nanoseconds.
    pub cpu_ns: u64,
}

impl WindowSummary {
    fn end_unix_ns(&self) -> u64 {
        self.start_unix_ns.saturating_add(self.duration_ns)
    }

    /// Half-open spans; a window of no length counts as an instant.
    fn overlaps(&self, from_unix_ns: u64, to_unix_ns: u64) -> bool {
        self.start_unix_ns < to_unix_ns && (self.end_unix_ns() > from_unix_ns || self.start_unix_ns == from_unix_ns)
    }
}

struct Window {
    summary: WindowSummary,
    packed: Arc<[u8]>,
}

impl Window {
    fn bytes(&self) -> usize {
        self.packed.len() + size_of::<Self>()
    }
}

#[derive(Default)]
struct Windows {
    queue: VecDeque<Window>,
    bytes: usize,
}

impl Windows {
    fn pop_oldest(&mut self) {
        if let Some(window) = self.queue.pop_front() {
            self.bytes -= window.bytes();
        }
    }
}

/// The last hour.
pub struct History {
    max_bytes: usize,
    max_age: Duration,
    pressure: Pressure,
    windows: Mutex<Windows>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("bytes", &self.bytes()).field("max_bytes", &self.max_bytes).finish()
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_BYTES, MAX_AGE)
    }
}

impl History {
    /// Keeps at most `max_bytes` of packed windows, none that ended more than `max_age` before the newest one.
    #[must_use]
    pub fn new(max_bytes: usize, max_age: Duration) -> Self {
        Self { max_bytes, max_age, pressure: Pressure::default(), windows: Mutex::default() }
    }

    /// Keeps less when memory is short.
    #[must_use]
    pub fn under(self, pressure: Pressure) -> Self {
        Self { pressure, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a closed window and lets go of what is too old or too much.
    ///
    /// # Errors
    /// When the window alone is over the budget: its samples are then nowhere, which the caller counts.
    pub fn add(&self, profile: &Profile) -> Result<(), HistoryError> {
        let samples = profile.sample_count();
        let summary = WindowSummary {
            start_unix_ns: profile.start_unix_ns,
            duration_ns: profile.duration_ns,
            samples,
            cpu_ns: samples.saturating_mul(profile.period_ns),
        };
        let window = Window { summary, packed: pack(profile)? };
        let bytes = window.bytes();
        if bytes > self.max_bytes {
            return Err(HistoryError::TooLarge { bytes, max_bytes: self.max_bytes });
        }
        let max_age_ns = u64::try_from(self.max_age.as_nanos()).unwrap_or(u64::MAX);
        let oldest_end = summary.end_unix_ns().saturating_sub(max_age_ns);
        let mut windows = self.lock();
        while windows.queue.front().is_some_and(|old| old.summary.end_unix_ns() < oldest_end) {
            windows.pop_oldest();
        }
        let max_bytes = self.pressure.bound(self.max_bytes as u64) as usize;
        while windows.bytes + bytes > max_bytes && !windows.queue.is_empty() {
            windows.pop_oldest();
        }
        windows.bytes += bytes;
        windows.queue.push_back(window);
        Ok(())
    }

    /// The windows that overlap `from_unix_ns..to_unix_ns`, unpacked one by one as the iterator advances: an hour
    /// unpacked at once would be many times the budget.
    pub fn profiles(&self, from_unix_ns: u64, to_unix_ns: u64) -> impl Iterator<Item = Profile> + use<> {
        let packed: Vec<Arc<[u8]>> = self
            .lock()
            .queue
            .iter()
            .filter(|window| window.summary.overlaps(from_unix_ns, to_unix_ns))
            .map(|window| Arc::clone(&window.packed))
            .collect();
        packed.into_iter().filter_map(|packed| unpack(&packed))
    }

    /// As [`Self::profiles`], all at once.
    #[must_use]
    pub fn query(&self, from_unix_ns: u64, to_unix_ns: u64) -> Vec<Profile> {
        self.profiles(from_unix_ns, to_unix_ns).collect()
    }

    /// All kept windows, oldest first.
    #[must_use]
    pub fn windows(&self) -> Vec<WindowSummary> {
        self.lock().queue.iter().map(|window| window.summary).collect()
    }

    /// Memory of the kept windows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Process, Sample, Service, Thread};

    const SECOND: u64 = 1_000_000_000;

    fn window(start_s: u64, count: u64) -> Profile {
        Profile {
            start_unix_ns: start_s * SECOND,
            duration_ns: 10 * SECOND,
            period_ns: 10,
            processes: vec![Process { pid: 1, start_ns: 2, name: "a".into() }],
            threads: vec![Thread { process: 0, tid: 1, name: "a".into() }],
            stacks: vec![Box::new([])],
            services: vec![Service {
                name: "a".into(),
                labels: vec![],
                samples: vec![Sample { stack: 0, thread: 0, count }],
            }],
            ..Profile::default()
        }
    }

    fn starts(history: &History) -> Vec<u64> {
        history.windows().iter().map(|window| window.start_unix_ns / SECOND).collect()
    }

    #[test]
    fn gives_back_what_overlaps() {
        let history = History::default();
        for start in [100, 110, 120] {
            history.add(&window(start, start)).unwrap();
        }
        assert_eq!(history.query(0, u64::MAX), [window(100, 100), window(110, 110), window(120, 120)]);
        assert_eq!(history.query(110 * SECOND, 120 * SECOND), [window(110, 110)]);
        assert_eq!(history.query(109 * SECOND, 111 * SECOND), [window(100, 100), window(110, 110)]);
        assert!(history.query(130 * SECOND, 200 * SECOND).is_empty());
        let expected =
            WindowSummary { start_unix_ns: 100 * SECOND, duration_ns: 10 * SECOND, samples: 100, cpu_ns: 1000 };
        assert_eq!(history.windows()[0], expected);
    }

    #[test]
    fn old_windows_go_first() {
        let history = History::new(1 << 20, Duration::from_secs(20));
        for start in [100, 110, 120, 130, 140] {
            history.add(&window(start, 1)).unwrap();
        }
        assert_eq!(starts(&history), [120, 130, 140]);
    }

    #[test]
    fn never_over_the_byte_budget() {
        let one = History::default();
        one.add(&window(100, 1)).unwrap();
        let max_bytes = one.bytes() * 5 / 2;
        let history = History::new(max_bytes, MAX_AGE);
        for start in 0..20 {
            history.add(&window(100 + start * 10, 1)).unwrap();
            assert!(history.bytes() <= max_bytes);
        }
        assert_eq!(starts(&history), [280, 290]);
    }

    #[test]
    fn a_window_over_the_budget_is_refused_and_loses_nothing_else() {
        let small = History::default();
        small.add(&window(100, 1)).unwrap();
        let history = History::new(small.bytes() + 8, MAX_AGE);
        history.add(&window(100, 1)).unwrap();
        let mut large = window(110, 1);
        large.processes = (0..10_000u32)
            .map(|pid| Process { pid, start_ns: u64::from(pid) << 20, name: format!("p{pid}").into() })
            .collect();
        assert!(matches!(history.add(&large), Err(HistoryError::TooLarge { .. })));
        assert_eq!(starts(&history), [100]);
    }
}
