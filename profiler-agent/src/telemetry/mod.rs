//! What the agent says of itself: the ledger of samples, metrics, the log.

pub mod ledger;
pub mod log;
pub mod lose;
pub mod metrics;
pub mod readiness;
