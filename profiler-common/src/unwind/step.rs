//! One step from a frame to its caller.

use super::arch::Arch;
use super::rule::{self, Rule};
use crate::outcome::UnwindStop;
use crate::record::INTERRUPTED;

/// A frame on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "host",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct Cursor {
    /// Program counter: an instruction, or a return address.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register, where it is known.
    pub link: u64,
    /// Or of the flags of this module.
    pub flags: u64,
}

/// `pc` is the instruction itself: innermost, or interrupted by a signal.
pub const EXACT: u64 = 1;
/// The innermost frame: all its registers are at hand.
pub const INNERMOST: u64 = 1 << 1;

/// From this bit on: 1 more than the slot of a register that the frame which called the innermost one still has there;
/// 0 where none is known.
const KEPT: u32 = 8;

/// A frame pointer that no step accepts.
const LOST: u64 = 1;

impl Cursor {
    /// The frame as samples have it: see [`INTERRUPTED`].
    #[inline(always)]
    #[must_use]
    pub const fn frame(&self) -> u64 {
        if self.flags & (EXACT | INNERMOST) == EXACT { self.pc | INTERRUPTED } else { self.pc }
    }

    /// The address whose row applies. A return address belongs to the instruction before.
    #[inline(always)]
    #[must_use]
    pub const fn lookup_address(&self) -> u64 {
        if self.flags & EXACT != 0 { self.pc } else { self.pc.wrapping_sub(1) }
    }
}

/// What is read on the way.
pub trait Stack {
    /// 8 bytes of the process at an address.
    fn word(&self, address: u64) -> Option<u64>;
    /// A register of the innermost frame by its slot, see [`Rule::register`].
    fn register(&self, slot: u32) -> Option<u64>;
    /// Base of the thread's local storage.
    fn thread_pointer(&self) -> Option<u64>;
}

/// The caller's frame, by a rule. `SIGNAL`, `GO_SAVED`, `GO_CALL` and `FP_SWITCH` may go to another stack; any
/// other step must go up.
#[inline(always)]
pub fn step<A: Arch>(cursor: Cursor, rule: Rule, stack: &impl Stack) -> Result<Cursor, UnwindStop> {
    let offset = rule.cfa_offset as i64 as u64;
    let read = |address| stack.word(address).ok_or(UnwindStop::BadMemory);
    let cfa = match rule.cfa {
        rule::cfa::SP => cursor.sp.wrapping_add(offset),
        rule::cfa::FP => cursor.fp.wrapping_add(offset),
        rule::cfa::PLT => cursor.sp.wrapping_add(8 + if (cursor.lookup_address() & 15) << 3 >= offset { 8 } else { 0 }),
        rule::cfa::SIGNAL => return step_signal::<A>(cursor, stack),
        rule::cfa::END => return Err(UnwindStop::Root),
        rule::cfa::NONE => return step_without_rows::<A>(cursor, stack),
        rule::cfa::SP_DEREF => read(cursor.sp.wrapping_add(offset))?.wrapping_add(rule.extra as i64 as u64),
        rule::cfa::FP_DEREF => read(cursor.fp.wrapping_add(offset))?.wrapping_add(rule.extra as i64 as u64),
        rule::cfa::REGISTER => innermost(cursor, stack, u32::from(rule.register))?.wrapping_add(offset),
        rule::cfa::GO_SAVED => return step_go::<A>(rule, stack),
        rule::cfa::GO_CALL => return step_go_call::<A>(cursor, rule, stack),
        rule::cfa::FP_SWITCH => return step_frame::<A>(cursor, offset, stack),
        _ => return Err(UnwindStop::UnsupportedRule),
    };
    if cfa < cursor.sp || (cfa == cursor.sp && cursor.flags & EXACT == 0) {
        return Err(UnwindStop::NotUpward);
    }
    let fp_offset = rule.fp_offset as i64 as u64;
    let fp = match rule.fp {
        rule::fp::SAME => cursor.fp,
        rule::fp::AT_CFA => read(cfa.wrapping_add(fp_offset))?,
        rule::fp::AT_FP => read(cursor.fp.wrapping_add(fp_offset))?,
        _ => LOST,
    };
    let pc = match rule.ra {
        rule::ra::BELOW_CFA => read(cfa.wrapping_sub(8))?,
        rule::ra::LINK if cursor.flags & EXACT != 0 => cursor.link,
        rule::ra::ABOVE_FP => read(cfa.wrapping_add(fp_offset).wrapping_add(8))?,
        rule::ra::AT_CFA => read(cfa.wrapping_add(rule.extra as i64 as u64))?,
        rule::ra::REGISTER => innermost(cursor, stack, rule.extra as u32)?,
        _ => return Err(UnwindStop::UnsupportedRule),
    };
    Ok(Cursor { flags: kept(cursor, rule), ..caller::<A>(pc, cfa, fp)? })
}

/// The flags of a caller's frame: see [`Rule::register`].
#[inline(always)]
fn kept(cursor: Cursor, rule: Rule) -> u64 {
    if cursor.flags & INNERMOST != 0 && rule.cfa == rule::cfa::SP { u64::from(rule.register) << KEPT } else { 0 }
}

/// `(pc, sp, fp) = (*(fp + 8), fp + 16, *fp)`; on aarch64 the pair lies at x29 in the same order.
#[inline(always)]
pub fn step_frame_pointer<A: Arch>(cursor: Cursor, stack: &impl Stack) -> Result<Cursor, UnwindStop> {
    if cursor.fp != 0 && cursor.fp < cursor.sp {
        return Err(UnwindStop::BadFramePointer);
    }
    step_frame::<A>(cursor, 16, stack)
}

/// `(pc, sp, fp) = (*(fp + 8), fp + size, *fp)`, wherever that is.
#[inline(always)]
fn step_frame<A: Arch>(cursor: Cursor, size: u64, stack: &impl Stack) -> Result<Cursor, UnwindStop> {
    if cursor.fp == 0 {
        return Err(UnwindStop::Root);
    }
    if cursor.fp & 7 != 0 {
        return Err(UnwindStop::BadFramePointer);
    }
    let fp = stack.word(cursor.fp).ok_or(UnwindStop::BadMemory)?;
    let pc = stack.word(cursor.fp.wrapping_add(8)).ok_or(UnwindStop::BadMemory)?;
    caller::<A>(pc, cursor.fp.wrapping_add(size), fp)
}

/// A frame whose caller is at a return address; none where the outermost frame returns to.
#[inline(always)]
fn caller<A: Arch>(return_address: u64, sp: u64, fp: u64) -> Result<Cursor, UnwindStop> {
    let pc = A::strip(return_address);
    if pc == 0 { Err(UnwindStop::Root) } else { Ok(Cursor { pc, sp, fp, link: 0, flags: 0 }) }
}

/// Code without rows follows the frame pointer, unless it is what a signal handler returns to.
#[inline(always)]
fn step_without_rows<A: Arch>(cursor: Cursor, stack: &impl Stack) -> Result<Cursor, UnwindStop> {
    if cursor.flags & EXACT == 0 && stack.word(cursor.pc) == Some(A::SIGNAL_RETURN) {
        return step_signal::<A>(cursor, stack);
    }
    step_frame_pointer::<A>(cursor, stack)
}

#[inline(always)]
fn step_signal<A: Arch>(cursor: Cursor, stack: &impl Stack) -> Result<Cursor, UnwindStop> {
    let at = |offset| stack.word(cursor.sp.wrapping_add(offset)).ok_or(UnwindStop::BadMemory);
    let [pc, sp, fp, link] = A::SIGNAL_FRAME;
    let link = if A::LINK_REGISTER { at(link)? } else { 0 };
    Ok(Cursor { pc: at(pc)?, sp: at(sp)?, fp: at(fp)?, link, flags: EXACT })
}

/// See [`rule::cfa::GO_SAVED`].
#[inline(always)]
fn step_go<A: Arch>(rule: Rule, stack: &impl Stack) -> Result<Cursor, UnwindStop> {
    let field = |base: u64, offset: i32| field(stack, base, offset);
    let g = if rule.register == 0 {
        field(stack.thread_pointer().ok_or(UnwindStop::BadMemory)?, rule.fp_offset)?
    } else {
        stack.register(u32::from(rule.register)).ok_or(UnwindStop::UnsupportedRule)?
    };
    let user = field(field(g, 48)?, rule.cfa_offset)?;
    if user == 0 {
        // The scheduler's own work: it has left the goroutine.
        return Err(UnwindStop::Root);
    }
    let link = if A::LINK_REGISTER { field(user, rule.extra.wrapping_sub(8))? } else { 0 };
    let (pc, sp, fp) = (field(user, 64)?, field(user, 56)?, field(user, rule.extra)?);
    if pc == 0 { Err(UnwindStop::Root) } else { Ok(Cursor { pc, sp, fp, link, flags: EXACT }) }
}

/// See [`rule::cfa::GO_CALL`].
#[inline(always)]
fn step_go_call<A: Arch>(cursor: Cursor, rule: Rule, stack: &impl Stack) -> Result<Cursor, UnwindStop> {
    let user = field(stack, cursor.sp, rule.cfa_offset)?;
    let depth = field(stack, cursor.sp, rule.fp_offset)?;
    let left = if user == 0 { depth } else { field(stack, user, 8)?.wrapping_sub(depth) };
    let fp = if A::LINK_REGISTER { field(stack, left, -8)? } else { cursor.fp };
    caller::<A>(field(stack, left, 0)?, left.wrapping_add(rule.extra as i64 as u64), fp)
}

#[inline(always)]
fn field(stack: &impl Stack, base: u64, offset: i32) -> Result<u64, UnwindStop> {
    stack.word(base.wrapping_add(offset as i64 as u64)).ok_or(UnwindStop::BadMemory)
}

/// A register of the innermost frame, where this one has it, too.
#[inline(always)]
fn innermost(cursor: Cursor, stack: &impl Stack, slot: u32) -> Result<u64, UnwindStop> {
    if cursor.flags & INNERMOST == 0 && cursor.flags >> KEPT != u64::from(slot) + 1 {
        return Err(UnwindStop::UnsupportedRule);
    }
    stack.register(slot).ok_or(UnwindStop::UnsupportedRule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::arch::{Aarch64, X86_64};
    use crate::unwind::rule::{cfa, fp, ra};

    /// Words by address; a thread pointer of 0x1000 and `g` at 0x100.
    struct Words<'a>(&'a [(u64, u64)]);

    impl Stack for Words<'_> {
        fn word(&self, address: u64) -> Option<u64> {
            self.0.iter().find(|(at, _)| *at == address).map(|(_, word)| *word)
        }

        fn register(&self, slot: u32) -> Option<u64> {
            (slot == 28).then_some(0x100)
        }

        fn thread_pointer(&self) -> Option<u64> {
            Some(0x1000)
        }
    }

    const AT: Cursor = Cursor { pc: 0x40, sp: 0x8000, fp: 0x600, link: 0, flags: 0 };

    #[test]
    fn a_frame_pointer_leads_to_a_lower_stack() {
        let rule = Rule { cfa: cfa::FP_SWITCH, cfa_offset: 24, ..Rule::NONE };
        let stack = Words(&[(0x600, 0x700), (0x608, 0x99)]);
        let caller = Cursor { pc: 0x99, sp: 0x618, fp: 0x700, link: 0, flags: 0 };
        assert_eq!(step::<Aarch64>(AT, rule, &stack), Ok(caller));
        assert_eq!(step::<X86_64>(Cursor { fp: 0, ..AT }, rule, &stack), Err(UnwindStop::Root));
        assert_eq!(step::<X86_64>(Cursor { fp: 0x601, ..AT }, rule, &stack), Err(UnwindStop::BadFramePointer));
        assert_eq!(step::<X86_64>(Cursor { fp: 0x608, ..AT }, rule, &stack), Err(UnwindStop::BadMemory));
    }

    #[test]
    fn a_goroutine_goes_on_where_it_left_its_stack() {
        // g at 0x100, m at 0x200, m.curg at 0x300.
        const SAVED: [(u64, u64); 6] =
            [(0x130, 0x200), (0x2b8, 0x300), (0x338, 0x500), (0x340, 0x99), (0x358, 0x77), (0x360, 0x520)];
        let rule = Rule { cfa: cfa::GO_SAVED, cfa_offset: 0xb8, fp_offset: -8, extra: 0x60, ..Rule::NONE };
        let caller = Cursor { pc: 0x99, sp: 0x500, fp: 0x520, link: 0, flags: EXACT };
        let [a, b, c, d, e, f] = SAVED;
        let words = [(0xff8, 0x100), a, b, c, d, e, f];
        assert_eq!(step::<X86_64>(AT, rule, &Words(&words)), Ok(caller));
        let rule = Rule { register: 28, fp_offset: 0, ..rule };
        assert_eq!(step::<Aarch64>(AT, rule, &Words(&SAVED)), Ok(Cursor { link: 0x77, ..caller }));
        assert_eq!(step::<Aarch64>(AT, rule, &Words(&[(0x130, 0x200), (0x2b8, 0)])), Err(UnwindStop::Root));
        assert_eq!(step::<Aarch64>(AT, rule, &Words(&[(0x130, 0x200)])), Err(UnwindStop::BadMemory));
    }

    #[test]
    fn c_goes_back_to_the_goroutine_that_called_it() {
        let rule = Rule { cfa: cfa::GO_CALL, cfa_offset: 48, fp_offset: 40, extra: 8, ..Rule::NONE };
        let stack = Words(&[(0x8030, 0x300), (0x8028, 0x80), (0x308, 0x580), (0x500, 0x99), (0x4f8, 0x66)]);
        let caller = Cursor { pc: 0x99, sp: 0x508, fp: 0x600, link: 0, flags: 0 };
        assert_eq!(step::<X86_64>(AT, rule, &stack), Ok(caller));
        assert_eq!(step::<Aarch64>(AT, rule, &stack), Ok(Cursor { fp: 0x66, ..caller }));
        // It was on this stack already.
        let stack = Words(&[(0x8030, 0), (0x8028, 0x8080), (0x8080, 0x99)]);
        assert_eq!(step::<X86_64>(AT, rule, &stack), Ok(Cursor { sp: 0x8088, ..caller }));
    }

    /// A function that keeps a register, and its caller, whose CFA is 16 bytes above what that register holds.
    const KEEPS: Rule = Rule { cfa: cfa::SP, cfa_offset: 8, register: 29, ..Rule::NONE };
    const NEEDS: Rule = Rule { cfa: cfa::REGISTER, cfa_offset: 16, register: 28, ..Rule::NONE };

    /// Two steps; `Words` has a register that holds 0x100.
    fn two_steps(cursor: Cursor, first: Rule, second: Rule) -> Result<Cursor, UnwindStop> {
        let stack = Words(&[(0x80, 0x41), (0x108, 0x42)]);
        step::<X86_64>(step::<X86_64>(Cursor { sp: 0x80, ..cursor }, first, &stack)?, second, &stack)
    }

    #[test]
    fn a_register_that_the_innermost_function_keeps_is_its_callers_too() {
        let innermost = Cursor { flags: EXACT | INNERMOST, ..AT };
        let caller = Cursor { pc: 0x42, sp: 0x110, fp: 0x600, link: 0, flags: 0 };
        assert_eq!(two_steps(innermost, KEEPS, NEEDS), Ok(caller));
        let lost = Err(UnwindStop::UnsupportedRule);
        assert_eq!(two_steps(innermost, Rule { register: 0, ..KEEPS }, NEEDS), lost);
        assert_eq!(two_steps(innermost, KEEPS, Rule { register: 27, ..NEEDS }), lost);
        // A signal handler, or a function that has called another, has no registers.
        assert_eq!(two_steps(Cursor { flags: EXACT, ..AT }, KEEPS, NEEDS), lost);
        assert_eq!(two_steps(Cursor { flags: 29 << KEPT, ..AT }, KEEPS, NEEDS), lost);
    }

    #[test]
    fn go_on_aarch64_stores_the_pair_below_the_frame() {
        let rule =
            Rule { cfa: cfa::SP, fp: fp::AT_CFA, ra: ra::ABOVE_FP, cfa_offset: 64, fp_offset: -72, ..Rule::NONE };
        let stack = Words(&[(0x7ff8, 0x66), (0x8000, 0x99)]);
        let caller = Cursor { pc: 0x99, sp: 0x8040, fp: 0x66, link: 0, flags: 0 };
        assert_eq!(step::<Aarch64>(AT, rule, &stack), Ok(caller));
    }
}
