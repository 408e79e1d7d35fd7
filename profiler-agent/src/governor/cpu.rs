//! When CPU time asks for another level.
//!
//! What is not used is saved up, for a few seconds' worth of budget; what is used beyond the budget comes out of that. Work
//! that comes in bursts, as the end of a window does, changes nothing; going on beyond the budget lowers the level within
//! seconds. After a level turned out to be too high, it is tried again later and later.

use std::collections::VecDeque;

/// Seconds of the budget that can be saved up or owed.
const SAVED_S: f64 = 10.0;
/// Seconds that are looked back on for what a level costs: no less than a window's length by default.
const RECENT_S: f64 = 12.0;
/// A step down needs an average beyond this many times the budget for so many seconds: what the last step brought has to
/// show, and the end of a window is not what a level costs.
const DOWN: [(f64, f64); 3] = [(2.0, 3.0), (5.0, 1.5), (11.0, 1.0)];
/// Seconds without a change before a step up; doubled each time the level above turned out to be too high.
const UP_AFTER_S: f64 = 15.0;
const MAX_UP_AFTER_S: f64 = 480.0;
/// Seconds without a step down after which such tries are forgotten.
const FORGET_S: f64 = 900.0;
/// A step up has to leave this share of the budget unused, as far as can be told.
const ROOM: f64 = 0.85;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Stay,
    /// So many steps.
    Down(usize),
    Up,
}

/// CPU time by its budget.
#[derive(Debug)]
pub(super) struct CpuGovernor {
    budget: f64,
    saved: f64,
    recent: VecDeque<(f64, f64)>,
    since_change_s: f64,
    since_down_s: f64,
    up_after_s: f64,
    went_up: bool,
}

impl CpuGovernor {
    /// `budget` is a share of all CPUs' time.
    pub(super) fn new(budget: f64) -> Self {
        Self {
            budget,
            saved: SAVED_S * budget,
            recent: VecDeque::new(),
            since_change_s: 0.0,
            since_down_s: 0.0,
            up_after_s: UP_AFTER_S,
            went_up: false,
        }
    }

    /// The share used lately.
    pub(super) fn used(&self) -> f64 {
        let (seconds, cpu) = self.recent.iter().fold((0.0, 0.0), |sum, (s, cpu)| (sum.0 + s, sum.1 + cpu));
        if seconds > 0.0 { cpu / seconds } else { 0.0 }
    }

    /// `used` is the share in the last `seconds`; `rise` how much more often would be sampled one level up, none when
    /// there is none.
    pub(super) fn decide(&mut self, seconds: f64, used: f64, rise: Option<f64>) -> Move {
        self.note(seconds, used);
        let limit = SAVED_S * self.budget;
        self.saved = (self.saved + (self.budget - used) * seconds).clamp(-limit, limit);
        self.since_change_s += seconds;
        self.since_down_s += seconds;
        if self.since_down_s >= FORGET_S {
            self.up_after_s = UP_AFTER_S;
        }
        let times = self.used() / self.budget;
        if self.saved < 0.0 && DOWN.iter().any(|&(after_s, least)| self.since_change_s >= after_s && times > least) {
            return self.lower(times);
        }
        let seconds: f64 = self.recent.iter().map(|(seconds, _)| seconds).sum();
        let is_calm = self.since_change_s >= self.up_after_s && seconds >= RECENT_S && self.saved >= 0.0;
        match rise {
            Some(rise) if is_calm && self.used() * rise <= self.budget * ROOM => self.raise(),
            _ => Move::Stay,
        }
    }

    fn note(&mut self, seconds: f64, used: f64) {
        self.recent.push_back((seconds, used * seconds));
        let mut sum: f64 = self.recent.iter().map(|(seconds, _)| seconds).sum();
        while let Some((oldest, _)) = self.recent.front().filter(|(oldest, _)| sum - oldest >= RECENT_S) {
            sum -= oldest;
            self.recent.pop_front();
        }
    }

    fn lower(&mut self, times: f64) -> Move {
        // Where the last step led up, it was one too many.
        if self.went_up {
            self.up_after_s = (self.up_after_s * 2.0).min(MAX_UP_AFTER_S);
        }
        self.since_down_s = 0.0;
        self.changed(false);
        Move::Down(if times > 4.0 { 3 } else { 1 + usize::from(times > 1.5) })
    }

    fn raise(&mut self) -> Move {
        self.changed(true);
        Move::Up
    }

    fn changed(&mut self, up: bool) {
        self.since_change_s = 0.0;
        self.went_up = up;
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::Ladder;
    use super::*;

    /// A host where sampling costs `fixed + hz * per_hz`; the levels of each second.
    fn run(governor: &mut CpuGovernor, step: &mut usize, seconds: u32, cost: impl Fn(u32, u32) -> f64) -> Vec<u32> {
        let ladder = Ladder::new(99);
        let hz = |step: usize| ladder.level(step).hz;
        (0..seconds)
            .map(|second| {
                let rise = step.checked_sub(1).map(|above| f64::from(hz(above)) / f64::from(hz(*step)));
                match governor.decide(1.0, cost(second, hz(*step)), rise) {
                    Move::Stay => {}
                    Move::Down(steps) => *step = (*step + steps).min(ladder.lowest()),
                    Move::Up => *step -= 1,
                }
                hz(*step)
            })
            .collect()
    }

    #[test]
    fn within_the_budget_nothing_changes() {
        let (mut governor, mut step) = (CpuGovernor::new(0.01), 0);
        // Every tenth second costs five times the budget.
        let levels = run(&mut governor, &mut step, 300, |second, _| if second % 10 == 9 { 0.05 } else { 0.004 });
        assert!(levels.iter().all(|hz| *hz == 99), "{levels:?}");
    }

    #[test]
    fn an_overrun_that_lasts_is_answered_within_seconds() {
        let (mut governor, mut step) = (CpuGovernor::new(0.01), 0);
        let levels = run(&mut governor, &mut step, 30, |_, hz| f64::from(hz) * 0.0005);
        assert_eq!(levels.iter().position(|hz| *hz < 99), Some(2));
        assert!(levels[29..].iter().all(|hz| f64::from(*hz) * 0.0005 <= 0.012), "{levels:?}");
    }

    #[test]
    fn it_rises_again_when_there_is_room() {
        let (mut governor, mut step) = (CpuGovernor::new(0.01), 0);
        run(&mut governor, &mut step, 60, |_, hz| f64::from(hz) * 0.0005);
        assert!(step > 3);
        run(&mut governor, &mut step, 300, |_, hz| f64::from(hz) * 0.00005);
        assert_eq!(step, 0);
    }

    #[test]
    fn it_does_not_flap() {
        let (mut governor, mut step) = (CpuGovernor::new(0.01), 0);
        // What one level up would cost cannot be told from the share of the samples.
        let levels = run(&mut governor, &mut step, 3600, |_, hz| if hz > 34 { 0.02 } else { 0.002 });
        let changes = levels.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes < 40, "{changes} changes in an hour");
        let over = levels.iter().filter(|hz| **hz > 34).count();
        assert!(over < 400, "{over} seconds of an hour beyond the budget");
    }
}
