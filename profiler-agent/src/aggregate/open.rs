//! The windows that take samples: one for each rate. A window never mixes rates: services may have one of their own, and
//! for a moment after a change the windows before it stay open for the samples of the earlier rates that are on their way.

use super::{KnownFrames, Window};
use profiler_common::control::EPOCHS;
use profiler_common::record::SampleHeader;
use std::time::{Duration, Instant};

/// How long a window waits for samples of its rate after the rate has changed: two polls of the ring buffer and more.
const LINGER: Duration = Duration::from_millis(500);

/// What samples of a window have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RateKey {
    epoch: u32,
    period_ns: u32,
}

impl RateKey {
    fn of(header: &SampleHeader) -> Self {
        Self { epoch: header.epoch(), period_ns: header.period_ns }
    }
}

/// A window and what belongs to it.
#[derive(Debug)]
pub struct Open {
    /// What has come.
    pub window: Window,
    /// Its frames by address.
    pub known: KnownFrames,
    rate: RateKey,
    started: Instant,
    /// When the rate changed.
    ended: Option<Instant>,
}

impl Open {
    /// When it has to close.
    fn due(&self, interval: Option<Duration>) -> Option<Instant> {
        match self.ended {
            Some(ended) => Some(ended + LINGER),
            None => interval.map(|interval| self.started + interval),
        }
    }

    /// Ends the window: says how long it was.
    fn close(&mut self, now: Instant) {
        let length = self.ended.unwrap_or(now).saturating_duration_since(self.started);
        self.window.duration_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    }
}

/// The windows by age, the youngest last; never none.
#[derive(Debug)]
pub struct OpenWindows {
    windows: Vec<Open>,
    epoch: u32,
    interval: Option<Duration>,
}

impl OpenWindows {
    /// One window of the first rate. Without an interval it closes with the last sample only.
    #[must_use]
    pub fn new(period_ns: u32, interval: Option<Duration>, now: Instant, unix_ns: u64) -> Self {
        let mut windows = Self { windows: Vec::new(), epoch: 0, interval };
        windows.open(RateKey { epoch: 0, period_ns }, now, unix_ns, None);
        windows
    }

    fn open(&mut self, rate: RateKey, now: Instant, unix_ns: u64, ended: Option<Instant>) {
        let window = Window::new(unix_ns, rate.period_ns.into());
        self.windows.push(Open { window, known: KnownFrames::default(), rate, started: now, ended });
    }

    /// The window for a sample.
    pub fn of(&mut self, header: &SampleHeader, now: Instant, unix_ns: impl FnOnce() -> u64) -> Option<&mut Open> {
        let rate = RateKey::of(header);
        if !self.windows.iter().any(|open| open.rate == rate) {
            let is_late = rate.epoch.wrapping_sub(self.epoch) % EPOCHS >= EPOCHS / 2;
            if !is_late && rate.epoch != self.epoch {
                self.windows.iter_mut().for_each(|open| _ = open.ended.get_or_insert(now));
                self.epoch = rate.epoch;
            }
            // Windows of one time are as long as each other.
            let beside = self.windows.iter().find(|open| open.rate.epoch == rate.epoch && open.ended.is_none());
            let (started, unix_ns) =
                beside.map_or_else(|| (now, unix_ns()), |open| (open.started, open.window.start_unix_ns));
            self.open(rate, started, unix_ns, is_late.then_some(now));
        }
        self.windows.iter_mut().find(|open| open.rate == rate)
    }

    /// When the next window has to close.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.windows.iter().filter_map(|open| open.due(self.interval)).min()
    }

    /// Takes out a window that has to close, unless samples of its epoch are still waited for; what follows the youngest
    /// begins now.
    pub fn take_due(&mut self, now: Instant, unix_ns: u64, awaited: impl Fn(u32) -> bool) -> Option<Open> {
        let is_due = |open: &Open| {
            let due = open.due(self.interval).is_some_and(|due| due <= now);
            due && (open.ended.is_none() || !awaited(open.rate.epoch))
        };
        let at = self.windows.iter().position(is_due)?;
        let mut open = self.windows.remove(at);
        open.close(now);
        if open.ended.is_none() {
            self.open(open.rate, now, unix_ns, None);
        }
        Some(open)
    }

    /// Puts back a window that nobody could take: it grows on.
    pub fn put_back(&mut self, open: Open) {
        // The empty one that `take_due` began instead.
        self.windows.retain(|next| next.rate != open.rate);
        self.windows.insert(0, open);
    }

    /// All that are left, the oldest first.
    pub fn into_closed(self, now: Instant) -> impl Iterator<Item = Open> {
        self.windows.into_iter().map(move |mut open| {
            open.close(now);
            open
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::record::EPOCH_SHIFT;
    use zerocopy::FromZeros as _;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn windows(now: Instant) -> OpenWindows {
        OpenWindows::new(10, Some(INTERVAL), now, 5)
    }

    fn header(epoch: u32, period_ns: u32) -> SampleHeader {
        SampleHeader { flags: epoch << EPOCH_SHIFT, period_ns, ..SampleHeader::new_zeroed() }
    }

    /// Start, period and length in milliseconds of a window that has to close.
    fn take(windows: &mut OpenWindows, now: Instant) -> Option<(u64, u64, u64)> {
        let open = windows.take_due(now, 6, |_| false)?;
        Some((open.window.start_unix_ns, open.window.period_ns, open.window.duration_ns / 1_000_000))
    }

    #[test]
    fn a_window_ends_after_its_interval() {
        let now = Instant::now();
        let mut windows = windows(now);
        assert_eq!(windows.due(), Some(now + INTERVAL));
        assert_eq!(take(&mut windows, now + INTERVAL / 2), None);
        assert_eq!(take(&mut windows, now + INTERVAL), Some((5, 10, 10_000)));
        assert_eq!(windows.due(), Some(now + 2 * INTERVAL));
    }

    #[test]
    fn another_rate_begins_another_window() {
        let now = Instant::now();
        let mut windows = windows(now);
        let changed = now + Duration::from_secs(3);
        assert_eq!(windows.of(&header(1, 20), changed, || 7).unwrap().window.period_ns, 20);
        assert_eq!(windows.of(&header(0, 10), changed, || 8).unwrap().window.start_unix_ns, 5);
        assert_eq!(windows.due(), Some(changed + LINGER));
        assert!(windows.take_due(changed + LINGER, 6, |epoch| epoch == 0).is_none(), "a sample is on its way");
        assert_eq!(take(&mut windows, changed + LINGER), Some((5, 10, 3_000)));
        assert_eq!(take(&mut windows, changed + LINGER), None);
        assert_eq!(take(&mut windows, changed + INTERVAL), Some((7, 20, 10_000)));
    }

    #[test]
    fn a_service_with_its_own_rate_has_its_own_window() {
        let now = Instant::now();
        let mut windows = windows(now);
        let later = now + INTERVAL / 2;
        assert_eq!(windows.of(&header(0, 30), later, || 7).unwrap().window.start_unix_ns, 5);
        assert_eq!(take(&mut windows, now + INTERVAL), Some((5, 10, 10_000)));
        assert_eq!(take(&mut windows, now + INTERVAL), Some((5, 30, 10_000)));
        assert_eq!(take(&mut windows, now + INTERVAL), None);
    }

    #[test]
    fn a_late_sample_ends_nothing() {
        let now = Instant::now();
        let mut windows = windows(now);
        windows.of(&header(1, 20), now, || 7);
        assert_eq!(take(&mut windows, now + LINGER), Some((5, 10, 0)));
        assert_eq!(windows.of(&header(0, 10), now + LINGER, || 8).unwrap().window.period_ns, 10);
        assert_eq!(take(&mut windows, now + 2 * LINGER), Some((8, 10, 0)));
        assert_eq!(take(&mut windows, now + INTERVAL), Some((7, 20, 10_000)));
    }

    #[test]
    fn a_window_that_nobody_takes_grows_on() {
        let now = Instant::now();
        let mut windows = windows(now);
        let open = windows.take_due(now + INTERVAL, 6, |_| false).unwrap();
        windows.put_back(open);
        assert_eq!(take(&mut windows, now + 2 * INTERVAL), Some((5, 10, 20_000)));
        assert_eq!(windows.into_closed(now + 3 * INTERVAL).count(), 1);
    }
}
