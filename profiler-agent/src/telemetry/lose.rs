//! A hole in the pipeline for the tests of the ledger: builds with the feature `lose-one` lose one record in the
//! stage that `PROFILER_LOSE` names. Other builds lose nothing.

/// Whether this stage shall lose one record now; true at most once.
#[cfg(feature = "lose-one")]
pub fn one(stage: &str) -> bool {
    use std::sync::atomic::{AtomicBool, Ordering};
    static LOST: AtomicBool = AtomicBool::new(false);
    std::env::var("PROFILER_LOSE").is_ok_and(|wanted| wanted == stage) && !LOST.swap(true, Ordering::Relaxed)
}

/// Whether this stage shall lose one record now: never in this build.
#[cfg(not(feature = "lose-one"))]
#[inline]
#[must_use]
pub fn one(_stage: &str) -> bool {
    false
}
