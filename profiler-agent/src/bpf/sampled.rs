//! Which processes had a sample lately, by what the ring buffer brought.

use std::collections::HashMap;

/// How long a process is remembered after its last sample.
const REMEMBER_NS: u64 = 60_000_000_000;
/// Processes at most; beyond it, those without a sample in the last second go.
const MAX_PROCESSES: usize = 16_384;
const SECOND_NS: u64 = 1_000_000_000;

/// The time of the last sample by process id.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    last_ns: HashMap<u32, u64>,
    swept_ns: u64,
}

impl Sampled {
    pub(super) fn note(&mut self, tgid: u32, time_ns: u64) {
        self.last_ns.insert(tgid, time_ns);
        if self.swept_ns + REMEMBER_NS < time_ns {
            self.keep_since(time_ns - REMEMBER_NS, time_ns);
        } else if self.last_ns.len() > MAX_PROCESSES && self.swept_ns + SECOND_NS < time_ns {
            self.keep_since(time_ns - SECOND_NS, time_ns);
        }
    }

    fn keep_since(&mut self, oldest_ns: u64, now_ns: u64) {
        self.last_ns.retain(|_, last_ns| *last_ns >= oldest_ns);
        self.swept_ns = now_ns;
    }

    pub(super) fn len(&self) -> usize {
        self.last_ns.len()
    }

    pub(super) fn contains(&self, tgid: u32) -> bool {
        self.last_ns.contains_key(&tgid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_after_a_minute() {
        let mut sampled = Sampled::default();
        sampled.note(1, SECOND_NS);
        sampled.note(2, REMEMBER_NS);
        assert!(sampled.contains(1));
        sampled.note(3, REMEMBER_NS + 2 * SECOND_NS);
        assert_eq!([1, 2, 3, 4].map(|tgid| sampled.contains(tgid)), [false, true, true, false]);
    }

    #[test]
    fn holds_no_more_than_fit() {
        let mut sampled = Sampled::default();
        (0..200_000_u64).for_each(|number| sampled.note(number as u32, number * SECOND_NS / 10_000));
        assert!(sampled.last_ns.len() <= MAX_PROCESSES + 20_000, "{}", sampled.last_ns.len());
    }
}
