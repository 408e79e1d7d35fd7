//! Registers that called functions leave as they are.
//!
//! A row with [`cfa::REGISTER`] holds in the innermost frame, whose registers are at hand. In the frame that called that
//! one it holds as well, where the register is not written between the call and the return: codecs call functions of
//! their own from frames with an aligned stack. So the rows of such functions say which register they keep.
//!
//! They call nothing and do not jump elsewhere, and none of their instructions writes the register. Who else may have
//! jumped there does not matter: a caller whose CFA is in the register needs it after the return, and what no
//! instruction up to there writes is what it will be then.

use super::Row;
use super::state::slot;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, InstructionInfoOptions, OpAccess,
    Register,
};
use profiler_common::unwind::rule::cfa;
use std::collections::BTreeMap;

/// Called functions of a file: many times those of the largest codec.
const MAX_FUNCTIONS: usize = 512;
/// Bytes of a called function.
pub(super) const MAX_FUNCTION_BYTES: u64 = 8 << 10;

/// Which functions are called where the CFA is in a register.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// The register, by the function's address; none where callers differ.
    registers: BTreeMap<u64, Option<Register>>,
}

impl Needed {
    /// Of a call, before which the CFA is in a register.
    pub(super) fn add(&mut self, call: &Instruction, register: Register) {
        let target = call.near_branch_target();
        if !call.is_call_near() || (self.registers.len() >= MAX_FUNCTIONS && !self.registers.contains_key(&target)) {
            return;
        }
        let needed = self.registers.entry(target).or_insert(Some(register));
        *needed = needed.filter(|needed| *needed == register);
    }

    /// Says in the rows of these functions, which are in order of address, what they keep. `code` gives what lies at an
    /// address.
    pub(super) fn mark(&self, code: impl Fn(u64) -> Option<Vec<u8>>, rows: &mut [Row]) {
        for (&start, register) in &self.registers {
            let Some(register) = *register else { continue };
            let Some(slot) = slot(register) else { continue };
            let Some(end) = code(start).and_then(|bytes| end(start, &bytes, register)) else { continue };
            let first = rows.partition_point(|(address, _)| *address <= start).saturating_sub(1);
            let rows = rows[first..].iter_mut().take_while(|(address, _)| *address < end);
            rows.filter(|(_, rule)| rule.cfa == cfa::SP).for_each(|(_, rule)| rule.register = slot + 1);
        }
    }
}

/// The end of a function that keeps a register; none where it may not.
fn end(start: u64, bytes: &[u8], register: Register) -> Option<u64> {
    let mut factory = InstructionInfoFactory::new();
    let mut farthest = start;
    for instruction in &mut Decoder::with_ip(64, bytes, start, DecoderOptions::NONE) {
        if writes(&mut factory, &instruction, register) {
            return None;
        }
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch_target();
                farthest = farthest.max(Some(target).filter(|target| *target >= start)?);
            }
            FlowControl::Return if farthest < instruction.next_ip() => return Some(instruction.next_ip()),
            FlowControl::Return => {}
            _ => return None,
        }
    }
    None
}

/// Whether an instruction writes a general register or a part of it.
pub(super) fn writes(factory: &mut InstructionInfoFactory, instruction: &Instruction, register: Register) -> bool {
    let info = factory.info_options(instruction, InstructionInfoOptions::NO_MEMORY_USAGE);
    let mut used = info.used_registers().iter().filter(|used| used.register().full_register() == register);
    used.any(|used| !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead))
}

#[cfg(test)]
mod tests {
    use super::super::tests::followed;
    use profiler_common::unwind::rule::{Rule, cfa};

    /// Slot of %rcx, and 1 more.
    const RCX: u8 = 12;

    /// `call` of 0x1000, the function's first byte, at a distance of so many bytes.
    fn call(bytes: usize) -> Vec<u8> {
        [&[0xe8][..], &(-(bytes as i32) - 5).to_le_bytes()].concat()
    }

    /// mov %rsp,%rcx (or another); and $-32,%rsp; sub $0x60,%rsp; a call; mov %rcx,%rsp; ret
    fn caller(distance: usize, copy: [u8; 3], restore: [u8; 3]) -> Vec<u8> {
        let start = [&copy[..], &[0x48, 0x83, 0xe4, 0xe0, 0x48, 0x83, 0xec, 0x60]].concat();
        let at = distance + start.len();
        [start, call(at), restore.to_vec(), vec![0xc3]].concat()
    }

    fn by_rcx(distance: usize) -> Vec<u8> {
        caller(distance, [0x48, 0x89, 0xe1], [0x48, 0x89, 0xcc])
    }

    fn by_rdx(distance: usize) -> Vec<u8> {
        caller(distance, [0x48, 0x89, 0xe2], [0x48, 0x89, 0xd4])
    }

    /// What the rows of a function say that it keeps, where one that needs %rcx calls it.
    fn kept(function: &[u8]) -> Vec<u8> {
        let end = 0x1000 + function.len() as u64;
        let rows = followed(&[function, &by_rcx(function.len())].concat());
        rows.iter().filter(|(address, _)| *address < end).map(|(_, rule)| rule.register).collect()
    }

    #[test]
    fn a_function_that_does_not_write_the_register_keeps_it() {
        // lea (%rdi,%rsi,4),%rdi; ret
        let function = [0x48, 0x8d, 0x3c, 0xb7, 0xc3];
        let keeps = Rule { cfa: cfa::SP, cfa_offset: 8, register: RCX, ..Rule::NONE };
        let needs = Rule { cfa: cfa::REGISTER, cfa_offset: 8, register: RCX - 1, ..Rule::NONE };
        let called = Rule { register: 0, ..keeps };
        let expected = [(0x1000, keeps), (0x1005, called), (0x100c, needs), (0x1018, called), (0x1019, Rule::NONE)];
        assert_eq!(followed(&[&function[..], &by_rcx(5)].concat()), expected);
        // push %rbx; cmp %ecx,%eax; jne +1; ret after pop %rbx twice: the second is beyond a return.
        assert_eq!(kept(&[0x53, 0x39, 0xc8, 0x75, 0x02, 0x5b, 0xc3, 0x5b, 0xc3]), [RCX; 5]);
        // A loop: dec %eax; jne -4; ret
        assert_eq!(kept(&[0xff, 0xc8, 0x75, 0xfc, 0xc3]), [RCX]);
    }

    #[test]
    fn a_function_that_may_write_the_register_does_not() {
        let cases: [&[u8]; 9] = [
            // xor %ecx,%ecx; mov $1,%cl; cmove %eax,%ecx; rep stosb: each writes it.
            &[0x31, 0xc9, 0xc3],
            &[0xb1, 0x01, 0xc3],
            &[0x0f, 0x44, 0xc8, 0xc3],
            &[0xf3, 0xaa, 0xc3],
            // Only beyond an early return.
            &[0x75, 0x01, 0xc3, 0x31, 0xc9, 0xc3],
            // Calls of a distance and of a register, jumps before its start and to a register.
            &[0xe8, 0, 0, 0, 0, 0xc3],
            &[0xff, 0xd0, 0xc3],
            &[0x75, 0x80, 0xc3],
            &[0x75, 0x03, 0xff, 0xe0, 0xc3, 0xc3],
        ];
        for function in cases {
            assert!(kept(function).iter().all(|register| *register == 0), "{function:x?}");
        }
    }

    #[test]
    fn callers_that_differ_are_of_no_use() {
        let function = [0x90, 0xc3];
        let first = [&function[..], &by_rcx(2)].concat();
        let both = |second: fn(usize) -> Vec<u8>| [&first[..], &second(first.len())].concat();
        assert_eq!(followed(&both(by_rcx))[0].1.register, RCX);
        assert_eq!(followed(&both(by_rdx))[0].1.register, 0);
    }
}
