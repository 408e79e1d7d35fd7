//! What the agent and its kernel programs use.

use crate::host;
use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// What was used between two looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Length of the span.
    pub seconds: f64,
    /// Share of all online CPUs' time, by the agent's threads and the kernel programs.
    pub cpu: f64,
    /// Resident bytes of the agent and bytes of the kernel's maps, at the end.
    pub memory_bytes: u64,
}

/// Measures from look to look.
#[derive(Debug)]
pub struct Meter {
    looked: Instant,
    agent_ns: u64,
    programs_ns: u64,
}

impl Meter {
    /// Begins now, when the kernel programs had run for `programs_ns`.
    #[must_use]
    pub fn new(programs_ns: u64) -> Self {
        Self { looked: Instant::now(), agent_ns: agent_ns(), programs_ns }
    }

    /// Since the last look. The kernel programs ran for `programs_ns` so far, their maps have `map_bytes`.
    pub fn look(&mut self, programs_ns: u64, map_bytes: u64) -> Usage {
        let (now, agent_ns) = (Instant::now(), agent_ns());
        let seconds = now.duration_since(self.looked).as_secs_f64();
        let used_ns = agent_ns.saturating_sub(self.agent_ns) + programs_ns.saturating_sub(self.programs_ns);
        *self = Self { looked: now, agent_ns, programs_ns };
        let available_ns = seconds.max(1e-9) * 1e9 * f64::from(host::cpus());
        let (resident_bytes, _) = host::own_usage();
        Usage { seconds, cpu: used_ns as f64 / available_ns, memory_bytes: resident_bytes as u64 + map_bytes }
    }
}

/// CPU time of all threads of the agent, those that ended included.
fn agent_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agent_and_programs() {
        let mut meter = Meter::new(5);
        let usage = meter.look(5_000_000_005, 1 << 40);
        assert!(usage.cpu * usage.seconds * f64::from(host::cpus()) >= 5.0);
        assert!(usage.memory_bytes > 1 << 40);
        assert_eq!(meter.programs_ns, 5_000_000_005);
    }
}
