//! When memory asks for smaller caches, and, when those are as small as they get, for another level.

use super::cpu::Move;
use super::pressure::MAX_PRESSURE;

/// Seconds beyond the budget before something goes: what a window needs at its end does not stay.
const OVER_S: f64 = 2.0;
/// Seconds within the budget, with room, before something comes back.
const CALM_S: f64 = 60.0;
/// Less than this share of the budget in use is room.
const ROOM: f64 = 0.7;

/// Memory by its budget.
#[derive(Debug)]
pub(super) struct MemoryGovernor {
    budget: u64,
    over_s: f64,
    calm_s: f64,
    halvings: u32,
    /// Levels below the highest that memory asked for.
    lowered: u32,
}

impl MemoryGovernor {
    /// `budget` in bytes.
    pub(super) fn new(budget: u64) -> Self {
        Self { budget, over_s: 0.0, calm_s: 0.0, halvings: 0, lowered: 0 }
    }

    /// How often what caches may keep is halved.
    pub(super) fn halvings(&self) -> u32 {
        self.halvings
    }

    /// Whether the level may not rise, whatever CPU time says.
    pub(super) fn holds(&self) -> bool {
        self.lowered > 0
    }

    /// `used` bytes after `seconds`.
    pub(super) fn decide(&mut self, seconds: f64, used: u64) -> Move {
        let is_over = used > self.budget;
        let has_room = (used as f64) < self.budget as f64 * ROOM;
        self.over_s = if is_over { self.over_s + seconds } else { 0.0 };
        self.calm_s = if has_room { self.calm_s + seconds } else { 0.0 };
        if self.over_s >= OVER_S {
            self.over_s = 0.0;
            return self.lower();
        }
        if self.calm_s < CALM_S {
            return Move::Stay;
        }
        self.calm_s = 0.0;
        if self.lowered > 0 {
            self.lowered -= 1;
            return Move::Up;
        }
        self.halvings = self.halvings.saturating_sub(1);
        Move::Stay
    }

    fn lower(&mut self) -> Move {
        if self.halvings < MAX_PRESSURE {
            self.halvings += 1;
            return Move::Stay;
        }
        self.lowered += 1;
        Move::Down(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_shrink_before_the_frequency_falls() {
        let mut governor = MemoryGovernor::new(100);
        let moves: Vec<Move> = (0..12).map(|_| governor.decide(1.0, 101)).collect();
        assert_eq!(governor.halvings(), MAX_PRESSURE);
        assert_eq!(moves.iter().filter(|step| **step == Move::Down(1)).count(), 2);
        assert!(governor.holds());
    }

    #[test]
    fn room_gives_back_in_reverse() {
        let mut governor = MemoryGovernor::new(100);
        (0..10).for_each(|_| _ = governor.decide(1.0, 101));
        assert_eq!((governor.halvings(), governor.lowered), (4, 1));
        (0..90).for_each(|_| assert_eq!(governor.decide(1.0, 80), Move::Stay));
        let ups = (0..60).filter(|_| governor.decide(1.0, 60) == Move::Up).count();
        assert_eq!((ups, governor.halvings(), governor.holds()), (1, 4, false));
        (0..240).for_each(|_| _ = governor.decide(1.0, 60));
        assert_eq!(governor.halvings(), 0);
    }

    #[test]
    fn a_peak_is_no_overrun() {
        let mut governor = MemoryGovernor::new(100);
        (0..100).for_each(|second| _ = governor.decide(1.0, if second % 2 == 0 { 150 } else { 90 }));
        assert_eq!((governor.halvings(), governor.lowered), (0, 0));
    }
}
