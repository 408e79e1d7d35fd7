//! Counters, as the stages bump them.

#[path = "../../../profiler-agent/src/telemetry/ledger/mod.rs"]
pub mod ledger;
#[path = "../../../profiler-agent/src/telemetry/lose.rs"]
pub mod lose;
#[path = "../../../profiler-agent/src/telemetry/metrics.rs"]
pub mod metrics;
