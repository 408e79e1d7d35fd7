//! seccomp: which system calls a thread can make.
//!
//! A list of what is allowed, since what is dangerous cannot be listed: kernels grow calls, and x32 has a second set of
//! numbers. It is stable across C libraries because whatever came after Linux 5.1 does not exist for them here (ENOSYS),
//! and for each of those they have an older way; what was known then and is not on the list is refused (EPERM).

use super::syscalls::{self, Allowed, Test};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use std::sync::OnceLock;

/// The first number that is the same on all architectures: pidfd_send_signal, Linux 5.1. All later calls are above it,
/// openat2, clone3 and io_uring among them; x32's have bit 30 set.
const FIRST_COMMON: u32 = 424;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// It reads other processes.
    Reading,
    /// It uses the network.
    Talking,
    /// It uses the network and writes files.
    TalkingAndWriting,
    /// It writes files.
    Writing,
    /// It starts what reads other processes, and tells systemd.
    Supervising,
}

impl Work {
    fn allowed(self) -> Allowed {
        let mut allowed = syscalls::of_all();
        match self {
            Self::Reading => allowed.extend(syscalls::of_readers()),
            Self::Talking => allowed.extend(syscalls::of_the_network()),
            Self::TalkingAndWriting => {
                allowed.extend(syscalls::of_the_network());
                allowed.extend(syscalls::of_writers());
            }
            Self::Writing => allowed.extend(syscalls::of_writers()),
            Self::Supervising => allowed.extend(syscalls::of_the_supervisor()),
        }
        allowed
    }
}

/// Whether the kernel has filters.
pub(crate) fn is_available() -> bool {
    std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

/// Confines the calling thread and those that it starts.
pub(super) fn install(work: Work) -> anyhow::Result<()> {
    static COMPILED: [OnceLock<Option<BpfProgram>>; 5] = [const { OnceLock::new() }; 5];
    let program = COMPILED[work as usize].get_or_init(|| compile(work).ok());
    let program = program.as_ref().ok_or_else(|| anyhow::anyhow!("the filter cannot be compiled"))?;
    Ok(seccompiler::apply_filter(program)?)
}

fn compile(work: Work) -> anyhow::Result<BpfProgram> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let rules = work.allowed().into_iter().map(|(call, tests)| {
        let rules: Result<Vec<SeccompRule>, BackendError> = tests.into_iter().map(rule).collect();
        Ok((call, rules?))
    });
    let rules = rules.collect::<Result<_, BackendError>>()?;
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture)?;
    let mut program = later_calls_do_not_exist();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

fn rule(test: Test) -> Result<SeccompRule, BackendError> {
    let is_number = test.mask <= u32::MAX.into();
    let length = if is_number { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
    SeccompRule::new(vec![SeccompCondition::new(test.argument, length, SeccompCmpOp::MaskedEq(test.mask), test.value)?])
}

/// Instructions that go before others.
fn later_calls_do_not_exist() -> BpfProgram {
    /// Offset of the number in `seccomp_data`.
    const NUMBER: u32 = 0;
    let instruction = |code: u32, jf: u8, k: u32| sock_filter { code: code as u16, jt: 0, jf, k };
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, NUMBER),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, FIRST_COMMON),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]
}
