//! What the agent changes while the programs run: slots of one array, each a `u64` that is read and written at once.
//!
//! The timer of a CPU fires at one rate, and the program takes a share of the firings. A [`Turn`] says which ones: it goes
//! on with every firing, and a firing counts when the turn is below the [`Rate`]'s threshold. As the turn is equally
//! distributed at any moment, each sample stands for its rate's period from the first firing after a change on, and the
//! sum of the periods is the CPU time whenever and however often the rate changes.

/// The [`Rate`] of all processes without one of their own, in slot 0; rates of services follow.
pub const RATES: u32 = 16;
/// Or of the switches of this module.
pub const SWITCHES: u32 = RATES;
/// Slots.
pub const COUNT: u32 = SWITCHES + 1;

/// Report no forks and exits: the agent looks at `/proc` instead.
pub const SHED_EVENTS: u64 = 1;
/// Report when a process that had a sample runs a new executable: perf's side band does not.
pub const REPORT_EXECS: u64 = 1 << 1;
/// Some cgroups have rules.
pub const CGROUP_RULES: u64 = 1 << 2;

/// The rule of a cgroup whose tasks are left out; others are slots of [`Rate`]s.
pub const EXCLUDED: u32 = u32::MAX;

/// Below 2^30: a second, and what a rate has room for.
pub const MAX_PERIOD_NS: u32 = 1_000_000_000;

const PERIOD_BITS: u32 = 30;
const PERIOD_MASK: u64 = (1 << PERIOD_BITS) - 1;

/// Numbers of epochs: those of samples on their way are told apart by them.
pub const EPOCHS: u32 = 16;

/// How often is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds between two firings of the timer; at most [`MAX_PERIOD_NS`].
    pub timer_ns: u32,
    /// Nanoseconds that a sample stands for; no less than `timer_ns`, and at most [`MAX_PERIOD_NS`].
    pub period_ns: u32,
    /// Which rate of all processes this belongs to, below [`EPOCHS`].
    pub epoch: u32,
}

impl Rate {
    /// As a slot has it.
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.epoch as u64) << (2 * PERIOD_BITS) | (self.timer_ns as u64) << PERIOD_BITS | self.period_ns as u64
    }

    /// From a slot.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(slot: u64) -> Self {
        Self {
            timer_ns: (slot >> PERIOD_BITS & PERIOD_MASK) as u32,
            period_ns: (slot & PERIOD_MASK) as u32,
            epoch: (slot >> (2 * PERIOD_BITS)) as u32,
        }
    }

    /// Whether a firing at this turn is sampled: `timer / period` of all are.
    #[inline(always)]
    #[must_use]
    pub const fn takes(self, turn: Turn) -> bool {
        if self.timer_ns >= self.period_ns {
            return true;
        }
        (turn.0 as u64) < ((self.timer_ns as u64) << 32) / self.period_ns as u64
    }
}

/// Where a CPU is in the sequence `n / golden ratio mod 1`: of any run of it, every interval has its share but for a few
/// members, and a sub-sequence never falls into step with what it looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Turn(pub u32);

impl Turn {
    /// The next member.
    #[inline(always)]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(0x9e37_79b9))
    }
}

/// The rate of one process, as the agent tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessRate {
    /// Start of the process: another one may have the pid by now.
    pub start_ns: u64,
    /// Slot of its [`Rate`].
    pub slot: u32,
    /// Zero.
    pub padding: u32,
}

const _: () = assert!(size_of::<ProcessRate>() == 16);
const _: () = assert!((MAX_PERIOD_NS as u64) < 1 << PERIOD_BITS && EPOCHS == 1 << (64 - 2 * PERIOD_BITS));

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: Rate, firings: u32, turn: &mut Turn) -> u64 {
        (0..firings)
            .filter(|_| {
                *turn = turn.next();
                rate.takes(*turn)
            })
            .count() as u64
    }

    #[test]
    fn a_slot_holds_a_rate() {
        let rate = Rate { timer_ns: 999_999_999, period_ns: MAX_PERIOD_NS, epoch: 15 };
        assert_eq!(Rate::unpack(rate.pack()), rate);
        assert_eq!(Rate::unpack(0), Rate { timer_ns: 0, period_ns: 0, epoch: 0 });
    }

    #[test]
    fn every_run_of_firings_has_its_share() {
        let mut turn = Turn(7);
        for (timer_ns, period_ns) in [(1, 1), (1_003_009, 10_101_010), (10_101_010, 52_631_578), (1, 1000)] {
            let rate = Rate { timer_ns, period_ns, epoch: 0 };
            for firings in [10_u32, 97, 1000, 54_321] {
                let wanted = f64::from(firings) * f64::from(timer_ns) / f64::from(period_ns);
                let taken = taken(rate, firings, &mut turn) as f64;
                assert!((taken - wanted).abs() <= 3.0, "{taken} instead of {wanted}");
            }
        }
    }

    #[test]
    fn time_is_kept_across_changes() {
        let (mut turn, timer_ns, mut sum_ns) = (Turn::default(), 1_000_000_u32, 0_u64);
        let periods = [1_000_000, 3_000_000, 50_000_000, 7_777_777, 1_500_000];
        for round in 0..2000_usize {
            let rate = Rate { timer_ns, period_ns: periods[round % periods.len()], epoch: 0 };
            sum_ns += taken(rate, 37, &mut turn) * u64::from(rate.period_ns);
        }
        let wanted = 2000.0 * 37.0 * f64::from(timer_ns);
        assert!((sum_ns as f64 / wanted - 1.0).abs() < 0.01, "{sum_ns} instead of {wanted}");
    }
}
