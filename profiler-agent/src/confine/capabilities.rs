//! Capabilities of the calling thread.

use crate::bpf;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{self, CapabilitySet};
use std::fmt;
use std::io;
use std::sync::OnceLock;

/// What takes part in every verb.
pub(super) const READING: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// Where the agent was not given one of the first, the second grants the same, and more.
const INSTEAD: [(CapabilitySet, CapabilitySet); 2] = [
    (CapabilitySet::BPF.union(CapabilitySet::PERFMON), CapabilitySet::SYS_ADMIN),
    (CapabilitySet::DAC_READ_SEARCH, CapabilitySet::DAC_OVERRIDE),
];

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reading processes and sending what is found.
    Run,
    /// The same, and then writing a file for the user, wherever it is, and ending the command that was recorded, whoever
    /// it has become. Threads that read processes keep what [`Verb::Run`] keeps.
    Record,
}

impl Verb {
    fn needs(self) -> CapabilitySet {
        match self {
            Self::Run => READING,
            Self::Record => READING | CapabilitySet::DAC_OVERRIDE | CapabilitySet::KILL,
        }
    }
}

/// Capabilities that were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept(CapabilitySet);

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, (name, _)) in self.0.iter_names().enumerate() {
            write!(f, "{}{name}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Before Linux 5.11 BPF memory counts as locked memory. Whoever may lift that limit does so, and needs
/// `CAP_SYS_RESOURCE` for nothing else.
pub(super) fn lift_memory_limit() {
    // Without the capability the limit stays what it is, which `doctor` has looked at.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Whether sampling takes `CAP_SYS_ADMIN`: Debian's and Ubuntu's kernels up to 5.15 or so ask for it where
/// `kernel.perf_event_paranoid` is 3 or more, whatever `CAP_PERFMON` says. A thread finds out and ends.
pub(crate) fn sampling_takes_admin() -> bool {
    let samples_with = |kept: CapabilitySet| {
        let mut sets = thread::capabilities(None)?;
        sets.effective = sets.permitted & kept;
        thread::set_capabilities(None, sets)?;
        bpf::try_sampling()
    };
    let attempt = |kept| std::thread::scope(|scope| scope.spawn(move || samples_with(kept)).join());
    let fails = |kept| matches!(attempt(kept), Ok(Err(_)));
    fails(READING) && !fails(READING | CapabilitySet::SYS_ADMIN)
}

/// What the kernel asks for beyond [`READING`]; found out once, before anything is given up.
fn demanded() -> CapabilitySet {
    static DEMANDED: OnceLock<CapabilitySet> = OnceLock::new();
    let find = || if sampling_takes_admin() { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
    *DEMANDED.get_or_init(find)
}

/// Gives up everything that `verb` does not need: effective, permitted, inheritable, ambient and, where that is
/// allowed, in the bounding set.
pub(super) fn keep(verb: Verb) -> io::Result<Kept> {
    let mut sets = thread::capabilities(None)?;
    let instead = INSTEAD.iter().filter(|(needed, _)| !sets.permitted.contains(*needed)).map(|(_, other)| *other);
    let kept = sets.permitted & instead.fold(verb.needs() | demanded(), CapabilitySet::union);
    // No ambient capability is left without a permitted and inheritable one; older kernels than 4.3 have none.
    let _ = thread::clear_ambient_capability_set();
    // The right to drop from the bounding set goes last.
    for capability in (!CapabilitySet::empty()).iter_bits().filter(|capability| !kept.contains(*capability)) {
        // Refused without CAP_SETPCAP; beyond the last capability that the kernel knows there are none.
        let _ = thread::remove_capability_from_bounding_set(capability);
    }
    (sets.effective, sets.permitted, sets.inheritable) = (kept, kept, CapabilitySet::empty());
    thread::set_capabilities(None, sets)?;
    Ok(Kept(kept))
}

/// Single bits.
trait Bits {
    fn iter_bits(self) -> impl Iterator<Item = CapabilitySet>;
}

impl Bits for CapabilitySet {
    fn iter_bits(self) -> impl Iterator<Item = CapabilitySet> {
        (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)).filter(move |bit| self.contains(*bit))
    }
}
