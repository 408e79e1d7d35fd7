//! What the call frame information of each architecture calls its registers.

use super::trace::{self, Instructions};
use gimli::{AArch64, Register, Vendor, X86_64};
use object::elf::{self, Machine as ElfMachine};
use profiler_common::unwind::rule::ra;

/// An architecture.
#[derive(Debug)]
pub(super) struct Machine {
    /// Stack pointer.
    pub(super) sp: Register,
    /// Frame pointer.
    pub(super) fp: Register,
    /// Column of the return address.
    pub(super) ra: Register,
    /// Program counter, where expressions can name it.
    pub(super) pc: Option<Register>,
    /// Where the return address is when no row says so, one of [`ra`].
    pub(super) unsaved_ra: u8,
    /// Slot in the kernel's `struct pt_regs` of each general register.
    slots: &'static [u8],
    /// Registers other than the frame pointer that functions keep, where a CFA is in one while functions are called:
    /// assembly of glibc for x86_64 does that.
    kept: &'static [Register],
    /// Instructions of start-up code.
    pub(super) instructions: &'static Instructions,
    /// Whose extensions its instructions may use.
    pub(super) vendor: Vendor,
}

/// System V ABI, AMD64 supplement, figure 3.36; slots by `struct pt_regs`.
pub(super) static X86_64_MACHINE: Machine = Machine {
    sp: X86_64::RSP,
    fp: X86_64::RBP,
    ra: X86_64::RA,
    pc: Some(X86_64::RA),
    unsaved_ra: ra::BELOW_CFA,
    slots: &[10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0],
    kept: &[X86_64::RBX, X86_64::R12, X86_64::R13, X86_64::R14, X86_64::R15],
    instructions: &trace::X86_64,
    vendor: Vendor::Default,
};

/// DWARF for the Arm 64-bit architecture, section 4.1; slots by `struct user_pt_regs`.
pub(super) static AARCH64_MACHINE: Machine = Machine {
    sp: AArch64::SP,
    fp: AArch64::X29,
    ra: AArch64::X30,
    pc: None,
    unsaved_ra: ra::LINK,
    slots: &[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
        30, 31,
    ],
    kept: &[],
    instructions: &trace::AARCH64,
    vendor: Vendor::AArch64,
};

impl Machine {
    /// The one whose instructions are followed.
    pub(super) const X86_64: &'static Self = &X86_64_MACHINE;

    /// The architecture of a file.
    pub(super) fn of(machine: ElfMachine) -> Option<&'static Self> {
        match machine {
            elf::EM_X86_64 => Some(&X86_64_MACHINE),
            elf::EM_AARCH64 => Some(&AARCH64_MACHINE),
            _ => None,
        }
    }

    /// The register of a slot, when functions keep it.
    pub(super) fn kept(&self, slot: u8) -> Option<Register> {
        self.kept.iter().copied().find(|register| self.slot(*register) == Some(slot))
    }

    /// The slot of a general register.
    pub(super) fn slot(&self, register: Register) -> Option<u8> {
        self.slots.get(usize::from(register.0)).copied()
    }
}
