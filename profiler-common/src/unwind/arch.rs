//! What differs between architectures: registers, return addresses, signal frames.

/// An architecture. Both are always compiled: golden stacks of one are tested on the other.
pub trait Arch {
    /// Whether calls leave the return address in a register.
    const LINK_REGISTER: bool;
    /// Offsets from `sp` of the saved pc, sp, fp and link register in the kernel's signal frame.
    const SIGNAL_FRAME: [u64; 4];
    /// First 8 bytes of the code that a signal handler returns to, for C libraries that ship it without unwind
    /// information.
    const SIGNAL_RETURN: u64;

    /// The address in a return address that may be signed.
    fn strip(address: u64) -> u64;
}

/// x86_64: `rt_sigframe` is a `ucontext` once the return address is popped; its registers begin at 40.
pub struct X86_64;

impl Arch for X86_64 {
    const LINK_REGISTER: bool = false;
    const SIGNAL_FRAME: [u64; 4] = [40 + 8 * 16, 40 + 8 * 15, 40 + 8 * 10, 40 + 8 * 16];
    /// `mov $15, %rax; syscall`
    const SIGNAL_RETURN: u64 = u64::from_le_bytes([0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f]);

    #[inline(always)]
    fn strip(address: u64) -> u64 {
        address
    }
}

/// aarch64: `rt_sigframe` is a `siginfo` of 128 bytes and a `ucontext`, whose registers x0… begin at 184.
pub struct Aarch64;

const AARCH64_X0: u64 = 128 + 184;

impl Arch for Aarch64 {
    const LINK_REGISTER: bool = true;
    const SIGNAL_FRAME: [u64; 4] = [AARCH64_X0 + 8 * 32, AARCH64_X0 + 8 * 31, AARCH64_X0 + 8 * 29, AARCH64_X0 + 8 * 30];
    /// `mov x8, #139; svc #0`
    const SIGNAL_RETURN: u64 = u64::from_le_bytes([0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4]);

    /// Return addresses may be signed in the bits above the 48 of a user address.
    #[inline(always)]
    fn strip(address: u64) -> u64 {
        address & ((1 << 48) - 1)
    }
}
