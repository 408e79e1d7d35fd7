//! The steps between sampling as configured and next to nothing.

/// Each step takes this share of the samples of the one before.
const STEP: f64 = 0.7;
/// From this share of the samples on, forks, exits and mappings are no longer reported: half of the samples say nearly
/// as much as all, but a process that ends within a second then has no name.
const SHED_BELOW: f64 = 0.5;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Samples per second and CPU.
    pub hz: u32,
    /// Process events are left out; `/proc` is read at a sample instead.
    pub shed: bool,
}

/// Levels, the highest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(Vec<Level>);

impl Ladder {
    /// From a frequency down to 1 Hz.
    #[must_use]
    pub fn new(hz: u32) -> Self {
        let mut levels = vec![Level { hz, shed: false }];
        let (mut wanted, mut shed) = (f64::from(hz) * STEP, false);
        while let Some(last) = levels.last().copied().filter(|last| last.hz > 1) {
            if !shed && f64::from(last.hz) <= f64::from(hz) * SHED_BELOW {
                shed = true;
                levels.push(Level { shed, ..last });
            }
            let next = (wanted.round() as u32).clamp(1, last.hz - 1);
            levels.push(Level { hz: next, shed });
            wanted *= STEP;
        }
        if !shed {
            levels.push(Level { hz: 1, shed: true });
        }
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

    fn told(hz: u32) -> Vec<(u32, bool)> {
        Ladder::new(hz).0.iter().map(|level| (level.hz, level.shed)).collect()
    }

    #[test]
    fn steps_lead_to_one_hertz() {
        let (full, shed) = (false, true);
        assert_eq!(
            told(19),
            [(19, full), (13, full), (9, full), (9, shed), (7, shed), (5, shed), (3, shed), (2, shed), (1, shed)]
        );
        assert_eq!(told(99).len(), 14);
        assert_eq!(told(10_000).last(), Some(&(1, true)));
        assert_eq!(told(2), [(2, full), (1, full), (1, shed)]);
        assert_eq!(told(1), [(1, full), (1, shed)]);
    }
}
