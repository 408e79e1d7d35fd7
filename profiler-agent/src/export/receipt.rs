//! Tells when every part of a window was accepted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is to be done then.
pub type WhenAccepted = Box<dyn Fn() + Send + Sync>;

struct Shared {
    spoiled: AtomicBool,
    accepted: WhenAccepted,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !*self.spoiled.get_mut() {
            (self.accepted)();
        }
    }
}

/// Each part of a window has one. When the last is let go and none was spoiled, all parts were accepted.
#[derive(Clone)]
pub(super) struct Receipt(Arc<Shared>);

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("spoiled", &self.0.spoiled).finish_non_exhaustive()
    }
}

impl Receipt {
    pub(super) fn new(accepted: WhenAccepted) -> Self {
        Self(Arc::new(Shared { spoiled: AtomicBool::new(false), accepted }))
    }

    /// A part came to another end.
    pub(super) fn spoil(&self) {
        self.0.spoiled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> (Receipt, Arc<AtomicBool>) {
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        (Receipt::new(Box::new(move || flag.store(true, Ordering::Relaxed))), done)
    }

    #[test]
    fn tells_once_all_are_accepted_and_not_when_one_was_not() {
        let (receipt, done) = receipt();
        let other = receipt.clone();
        drop(receipt);
        assert!(!done.load(Ordering::Relaxed));
        drop(other);
        assert!(done.load(Ordering::Relaxed));

        let (receipt, done) = self::receipt();
        receipt.clone().spoil();
        drop(receipt);
        assert!(!done.load(Ordering::Relaxed));
    }
}
