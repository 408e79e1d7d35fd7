//! The steps between sampling as configured and next to nothing.

use crate::bpf::Reported;

/// Each step takes this share of the samples of the one before.
const STEP: f64 = 0.7;
/// From this share of the samples on, only processes that had a sample are reported on: half of the samples say nearly
/// as much as all, but a process that ends within a second then has no name.
const SAMPLED_BELOW: f64 = 0.5;
/// From this share on, nothing is: `/proc` is read once a second instead, for the few processes that still have samples.
const NONE_BELOW: f64 = 0.125;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Samples per second and CPU.
    pub hz: u32,
    /// Of which processes events are reported.
    pub events: Reported,
}

/// Levels, the highest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(Vec<Level>);

impl Ladder {
    /// From a frequency down to 1 Hz.
    #[must_use]
    pub fn new(hz: u32) -> Self {
        let mut levels = vec![Level { hz, events: Reported::All }];
        let mut wanted = f64::from(hz) * STEP;
        while let Some(last) = levels.last().copied().filter(|last| last.hz > 1) {
            let share = f64::from(last.hz) / f64::from(hz);
            let fewer = [(Reported::Sampled, SAMPLED_BELOW), (Reported::None, NONE_BELOW)];
            let due = fewer.into_iter().filter(|(events, below)| *events > last.events && share <= *below);
            levels.extend(due.map(|(events, _)| Level { events, ..last }));
            let events = levels.last().map_or(last.events, |level| level.events);
            let next = (wanted.round() as u32).clamp(1, last.hz - 1);
            levels.push(Level { hz: next, events });
            wanted *= STEP;
        }
        let lowest = levels.last().map_or(Reported::All, |level| level.events);
        let rest = [Reported::Sampled, Reported::None].into_iter().filter(|events| *events > lowest);
        levels.extend(rest.map(|events| Level { hz: 1, events }));
        Self(levels)
    }

    /// A level by its number; the lowest beyond the last.
    #[must_use]
    pub fn level(&self, step: usize) -> Level {
        self.0[step.min(self.lowest())]
    }

    /// Number of the lowest level.
    #[must_use]
    pub fn lowest(&self) -> usize {
        self.0.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hz: u32) -> Vec<(u32, Reported)> {
        Ladder::new(hz).0.iter().map(|level| (level.hz, level.events)).collect()
    }

    #[test]
    fn steps_lead_to_one_hertz() {
        let (all, few, none) = (Reported::All, Reported::Sampled, Reported::None);
        assert_eq!(
            told(19),
            [(19, all), (13, all), (9, all), (9, few), (7, few), (5, few), (3, few), (2, few), (2, none), (1, none)]
        );
        assert_eq!(told(99).len(), 15);
        assert_eq!(told(10_000).last(), Some(&(1, none)));
        assert_eq!(told(2), [(2, all), (1, all), (1, few), (1, none)]);
        assert_eq!(told(1), [(1, all), (1, few), (1, none)]);
    }
}
