//! A window is sent when each of its parts was accepted.

use super::{Canary, Sent};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Belongs to a part of a window. A part that is split gives each half a clone. Let go without
/// [`accepted`](Receipt::accepted), the window as a whole is not looked for.
#[derive(Debug)]
pub struct Receipt {
    window: Arc<Window>,
    accepted: bool,
}

#[derive(Debug)]
struct Window {
    canary: Canary,
    sent: Option<Sent>,
    incomplete: AtomicBool,
}

impl Receipt {
    pub(super) fn new(canary: Canary, sent: Sent) -> Self {
        let window = Arc::new(Window { canary, sent: Some(sent), incomplete: AtomicBool::new(false) });
        Self { window, accepted: false }
    }

    /// The server took the part.
    pub fn accepted(mut self) {
        self.accepted = true;
    }
}

impl Clone for Receipt {
    fn clone(&self) -> Self {
        Self { window: Arc::clone(&self.window), accepted: false }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.accepted {
            self.window.incomplete.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if let Some(sent) = self.sent.take().filter(|_| !self.incomplete.load(Ordering::Relaxed)) {
            self.canary.sent(sent);
        }
    }
}
