//! Time that reading debug info may take in one window.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A share of a window's time, given anew with each window.
#[derive(Debug)]
pub(in crate::symbolize) struct Budget {
    limit: Duration,
    spent: Cell<Duration>,
    since: Cell<Option<Instant>>,
}

impl Budget {
    /// This much in each window.
    pub(in crate::symbolize) fn new(limit: Duration) -> Self {
        Self { limit, spent: Cell::default(), since: Cell::default() }
    }

    /// A new window begins.
    pub(in crate::symbolize) fn renew(&self) {
        self.spent.set(Duration::ZERO);
    }

    /// Does something on the budget.
    pub(super) fn spend<T>(&self, work: impl FnOnce() -> T) -> T {
        let outer = self.since.replace(Some(Instant::now()));
        let done = work();
        self.spent.set(self.used());
        self.since.set(outer.map(|_| Instant::now()));
        done
    }

    fn used(&self) -> Duration {
        self.spent.get() + self.since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.used() >= self.limit
    }

    /// Whether nearly all of it is left: what does not fit into that never will.
    pub(super) fn is_fresh(&self) -> bool {
        self.used() < self.limit / 8
    }

    /// # Errors
    /// The budget is over.
    pub(super) fn check(&self) -> gimli::Result<()> {
        if self.is_over() { Err(gimli::Error::Io) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_over_at_once_and_an_hour_is_not() {
        assert!(Budget::new(Duration::ZERO).is_over());
        let budget = Budget::new(Duration::from_secs(3600));
        assert_eq!(budget.spend(|| (budget.is_over(), budget.is_fresh())), (false, true));
        budget.spent.set(Duration::from_secs(3600));
        assert!(budget.is_over() && !budget.is_fresh() && budget.check().is_err());
        budget.renew();
        assert!(!budget.is_over());
    }
}
