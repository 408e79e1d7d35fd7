//! Nothing is confined: libFuzzer writes files and starts processes.

/// As in the agent, without effect.
pub fn reader_thread() {}
