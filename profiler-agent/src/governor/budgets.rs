//! What a user says about the agent's burden.

/// What the agent may use; none for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budgets {
    /// Share of all online CPUs' time, agent and kernel programs together.
    pub cpu: Option<f64>,
    /// Resident bytes of the agent and bytes of the kernel's maps.
    pub memory_bytes: Option<u64>,
    /// Go through levels for no reason; a test seam.
    pub varies: bool,
}
