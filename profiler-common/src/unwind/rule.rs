//! What holds for a range of instructions: how to find the caller's frame.
//!
//! With `CFA` the canonical frame address (the stack pointer before the call), after a step
//! `sp = CFA`, `pc = return address`, `fp = the caller's frame pointer`.

macro_rules! kinds {
    ($(#[$doc:meta])* $module:ident { $($(#[$kind_doc:meta])* $name:ident = $value:literal,)+ }) => {
        $(#[$doc])*
        pub mod $module {
            $($(#[$kind_doc])* pub const $name: u8 = $value;)+
        }
    };
}

kinds! {
    /// Where the CFA is.
    cfa {
        /// No unwind information: frame-pointer step.
        NONE = 0,
        /// `sp + cfa_offset`
        SP = 1,
        /// `fp + cfa_offset`
        FP = 2,
        /// `sp + 8 + (if pc % 16 >= cfa_offset / 8 { 8 } else { 0 })`: stubs of the procedure linkage table.
        PLT = 3,
        /// The kernel's signal frame lies at `sp`; all registers come from there.
        SIGNAL = 4,
        /// The outermost frame.
        END = 5,
        /// Known, but not expressible here.
        UNSUPPORTED = 6,
        /// `*(sp + cfa_offset) + extra`
        SP_DEREF = 7,
        /// `*(fp + cfa_offset) + extra`
        FP_DEREF = 8,
        /// `registers[register] + cfa_offset`, in the innermost frame, and in the one that called it where the rule of that
        /// one says that it keeps the register.
        REGISTER = 9,
        /// Go's scheduler stack: the caller's registers are those that the goroutine saved when it left its own stack.
        /// `(pc, sp, fp, link) = (*(user + 64), *(user + 56), *(user + extra), *(user + extra - 8))` with
        /// `user = *(*(g + 48) + cfa_offset)`, `g` being `*(thread pointer + fp_offset)` or, where
        /// [`Rule::register`](super::Rule::register) is not 0, that register of the innermost frame. The outermost
        /// frame where `user` is 0.
        GO_SAVED = 10,
        /// `(pc, sp, fp) = (*(fp + 8), fp + cfa_offset, *fp)`, on whatever stack that is; where `fp` is 0, the
        /// outermost frame. Go's functions that change stacks keep the frame pointer.
        FP_SWITCH = 11,
        /// Go's call of C on another stack. With `user = *(sp + cfa_offset)` and `depth = *(sp + fp_offset)`, the stack
        /// pointer before was `left = depth` where `user` is 0, else `*(user + 8) - depth`, and the return address lies
        /// there: `(pc, sp) = (*left, left + extra)`. The frame pointer is where it was; on aarch64 at `left - 8`.
        GO_CALL = 12,
        /// In a packed rule: bits 4..32 are where the [`Rule`](super::Rule) lies, in steps of 4 bytes from its page.
        WIDE = 15,
    }
}

kinds! {
    /// Where the caller's frame pointer is.
    fp {
        /// Where it was.
        SAME = 0,
        /// `*(CFA + fp_offset)`
        AT_CFA = 1,
        /// Lost.
        UNDEFINED = 2,
        /// `*(fp + fp_offset)`
        AT_FP = 3,
    }
}

kinds! {
    /// Where the return address is.
    ra {
        /// `*(CFA - 8)`
        BELOW_CFA = 0,
        /// In the link register, in the innermost frame only.
        LINK = 1,
        /// `*(CFA + fp_offset + 8)`: stored as a pair with the frame pointer.
        ABOVE_FP = 2,
        /// `*(CFA + extra)`
        AT_CFA = 3,
        /// `registers[extra]`, in the innermost frame only.
        REGISTER = 4,
    }
}

/// How to get to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "host", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct Rule {
    /// One of [`cfa`].
    pub cfa: u8,
    /// For [`cfa::REGISTER`] and [`cfa::GO_SAVED`]: slot in the kernel's `struct pt_regs` (x86_64) or `struct user_pt_regs` (aarch64).
    /// For [`cfa::SP`]: 1 more than the slot of a register that is as the function's caller left it, and of use to that
    /// one; 0 where none is known.
    pub register: u8,
    /// One of [`fp`].
    pub fp: u8,
    /// One of [`ra`].
    pub ra: u8,
    /// In bytes.
    pub cfa_offset: i32,
    /// In bytes.
    pub fp_offset: i32,
    /// In bytes.
    pub extra: i32,
}

const _: () = assert!(size_of::<Rule>() == 16);

/// Bits of a packed rule: kind of CFA 0..4, CFA offset / 8 in 4..18, kind of frame pointer 18..20, its distance below
/// the CFA / 8 in 20..28, kind of return address 28..31.
mod packed {
    pub(super) const CFA_OFFSET: u32 = 4;
    pub(super) const CFA_OFFSET_BITS: u32 = 14;
    pub(super) const FP: u32 = 18;
    pub(super) const FP_OFFSET: u32 = 20;
    pub(super) const FP_OFFSET_BITS: u32 = 8;
    pub(super) const RA: u32 = 28;
}

impl Rule {
    /// No unwind information.
    pub const NONE: Self = Self { cfa: cfa::NONE, register: 0, fp: 0, ra: 0, cfa_offset: 0, fp_offset: 0, extra: 0 };
    /// The outermost frame.
    pub const END: Self = Self { cfa: cfa::END, ..Self::NONE };
    /// A signal frame.
    pub const SIGNAL: Self = Self { cfa: cfa::SIGNAL, ..Self::NONE };
    /// Not expressible.
    pub const UNSUPPORTED: Self = Self { cfa: cfa::UNSUPPORTED, ..Self::NONE };

    /// The rule in 4 bytes; none when it needs all 16.
    #[must_use]
    pub const fn pack(&self) -> Option<u32> {
        let cfa_offset = self.cfa_offset as u32;
        let fp_offset = self.fp_offset.wrapping_neg() as u32;
        let fits = self.cfa <= cfa::UNSUPPORTED
            && self.register == 0
            && self.extra == 0
            && cfa_offset.is_multiple_of(8)
            && cfa_offset >> (packed::CFA_OFFSET_BITS + 3) == 0
            && self.fp <= fp::UNDEFINED
            && fp_offset.is_multiple_of(8)
            && fp_offset >> (packed::FP_OFFSET_BITS + 3) == 0
            && self.ra <= ra::ABOVE_FP;
        if !fits {
            return None;
        }
        Some(
            self.cfa as u32
                | (cfa_offset >> 3) << packed::CFA_OFFSET
                | (self.fp as u32) << packed::FP
                | (fp_offset >> 3) << packed::FP_OFFSET
                | (self.ra as u32) << packed::RA,
        )
    }

    /// Undoes [`Rule::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(packed: u32) -> Self {
        Self {
            cfa: (packed & 15) as u8,
            register: 0,
            fp: field(packed, packed::FP, 2) as u8,
            ra: field(packed, packed::RA, 3) as u8,
            cfa_offset: (field(packed, packed::CFA_OFFSET, packed::CFA_OFFSET_BITS) << 3) as i32,
            fp_offset: -((field(packed, packed::FP_OFFSET, packed::FP_OFFSET_BITS) << 3) as i32),
            extra: 0,
        }
    }
}

#[inline(always)]
const fn field(packed: u32, shift: u32, bits: u32) -> u32 {
    (packed >> shift) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: Rule = Rule { cfa: cfa::SP, cfa_offset: 48, fp: fp::AT_CFA, fp_offset: -16, ..Rule::NONE };

    #[test]
    fn common_rules_take_four_bytes() {
        let all = [
            Rule::NONE,
            Rule::END,
            Rule::SIGNAL,
            Rule::UNSUPPORTED,
            COMMON,
            Rule { cfa_offset: 131_064, fp_offset: -2040, ..COMMON },
            Rule { cfa: cfa::FP, cfa_offset: 16, ..COMMON },
            Rule { cfa: cfa::PLT, cfa_offset: 8 * 11, ..Rule::NONE },
            Rule { fp: fp::UNDEFINED, fp_offset: 0, ra: ra::LINK, ..COMMON },
            Rule { ra: ra::ABOVE_FP, fp_offset: -96, ..COMMON },
        ];
        for rule in all {
            assert_eq!(Rule::unpack(rule.pack().unwrap()), rule);
        }
    }

    #[test]
    fn rare_rules_do_not_fit() {
        let rare = [
            Rule { cfa_offset: 131_072, ..COMMON },
            Rule { cfa_offset: 12, ..COMMON },
            Rule { cfa_offset: -8, ..COMMON },
            Rule { fp_offset: 8, ..COMMON },
            Rule { fp_offset: -2048, ..COMMON },
            Rule { cfa: cfa::FP_DEREF, ..COMMON },
            Rule { cfa: cfa::REGISTER, register: 7, ..COMMON },
            Rule { register: 7, ..COMMON },
            Rule { fp: fp::AT_FP, fp_offset: 0, ..COMMON },
            Rule { ra: ra::AT_CFA, extra: -16, ..COMMON },
        ];
        assert!(rare.iter().all(|rule| rule.pack().is_none()));
    }
}
