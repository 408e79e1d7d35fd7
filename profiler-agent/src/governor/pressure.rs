//! What caches may have when memory is short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Halvings at most: a sixteenth is left.
pub(super) const MAX_PRESSURE: u32 = 4;

/// Shared by everything that keeps something to save work: each halving halves what it may keep.
#[derive(Clone, Debug, Default)]
pub struct Pressure(Arc<AtomicU32>);

impl Pressure {
    /// A bound in bytes or entries, as it is now.
    #[must_use]
    pub fn bound(&self, full: u64) -> u64 {
        full >> self.halvings()
    }

    /// How short memory is: 0 for not at all.
    #[must_use]
    pub fn halvings(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether caches cannot get any smaller: what only saves work goes altogether.
    #[must_use]
    pub fn is_highest(&self) -> bool {
        self.halvings() == MAX_PRESSURE
    }

    pub(super) fn set(&self, halvings: u32) {
        self.0.store(halvings.min(MAX_PRESSURE), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_halved() {
        let pressure = Pressure::default();
        assert_eq!(pressure.bound(64), 64);
        pressure.clone().set(2);
        assert_eq!(pressure.bound(64), 16);
        pressure.set(99);
        assert_eq!(pressure.bound(64), 4);
    }
}
