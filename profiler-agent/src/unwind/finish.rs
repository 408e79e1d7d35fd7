//! The rest of a walk that the kernel program could not take: the same steps over the copied stack.

use crate::bpf::{CopiedStack, Sample};
use profiler_common::limits::MAX_USER_FRAMES;
use profiler_common::outcome::UnwindStop;
use profiler_common::unwind::rule::cfa;
use profiler_common::unwind::{Rule, Stack, step};
use std::cell::Cell;

#[cfg(target_arch = "aarch64")]
use profiler_common::unwind::arch::Aarch64 as Native;
#[cfg(target_arch = "x86_64")]
use profiler_common::unwind::arch::X86_64 as Native;

/// What holds at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// This rule.
    Rule(Rule),
    /// The table is being built.
    Later,
}

/// Takes the steps that are left and adds their frames; false when a table has to be built first, and the sample is
/// as it was. `rule` gives what holds at an address of the process.
pub(crate) fn finish(sample: &mut Sample, mut rule: impl FnMut(u64) -> Lookup) -> bool {
    let Some(stack) = &sample.stack else { return true };
    let mut frames = Vec::new();
    let mut cursor = stack.head.cursor;
    let copied = Copied { stack, beyond: Cell::new(false) };
    let stop = loop {
        if sample.user_frames().len() + frames.len() >= MAX_USER_FRAMES {
            break UnwindStop::TooDeep;
        }
        let Lookup::Rule(rule) = rule(cursor.lookup_address()) else { return false };
        match step::<Native>(cursor, rule, &copied) {
            Ok(caller) => cursor = caller,
            Err(_) if copied.beyond.get() => break UnwindStop::CopyShort,
            Err(UnwindStop::BadMemory) if leaves_the_stack(&rule) => break UnwindStop::CopyShort,
            Err(stop) => break stop,
        }
        frames.push(cursor.frame());
    };
    sample.header.stop = stop as u32;
    sample.header.user_frames += frames.len() as u32;
    sample.frames = sample.frames.iter().copied().chain(frames).collect();
    sample.stack = None;
    true
}

/// Whether the caller's frame is on another stack: one is copied.
fn leaves_the_stack(rule: &Rule) -> bool {
    matches!(rule.cfa, cfa::GO_SAVED | cfa::GO_CALL | cfa::FP_SWITCH)
}

struct Copied<'a> {
    stack: &'a CopiedStack,
    /// Whether something beyond the end of the copy was needed.
    beyond: Cell<bool>,
}

impl Stack for Copied<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.wrapping_sub(self.stack.head.stack_start)).ok()?;
        let word = self.stack.bytes.get(at..).and_then(|rest| rest.first_chunk());
        if word.is_none() && address >= self.stack.head.stack_start {
            self.beyond.set(true);
        }
        word.copied().map(u64::from_ne_bytes)
    }

    fn register(&self, slot: u32) -> Option<u64> {
        self.stack.head.registers.get(slot as usize).copied()
    }

    fn thread_pointer(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::record::{SampleHeader, StackHead};
    use profiler_common::unwind::Cursor;
    use profiler_common::unwind::rule::fp;
    use profiler_common::unwind::step::{EXACT, INNERMOST};
    use zerocopy::FromZeros as _;

    /// A sample at pc 0x10 whose stack holds some words from 0x7000 up.
    fn sample(words: &[u64]) -> Sample {
        let cursor = Cursor { pc: 0x10, sp: 0x7000, fp: 0, link: 0, flags: EXACT | INNERMOST };
        let head = StackHead { cursor, stack_start: 0x7000, ..StackHead::new_zeroed() };
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Sample {
            header: SampleHeader { user_frames: 1, stop: UnwindStop::Copied as u32, ..SampleHeader::new_zeroed() },
            frames: Box::new([0x10]),
            stack: Some(Box::new(CopiedStack { head, bytes })),
        }
    }

    fn sp(offset: i32) -> Lookup {
        Lookup::Rule(Rule { cfa: cfa::SP, cfa_offset: offset, ..Rule::NONE })
    }

    /// Three functions: at 0x10 with 16 bytes of stack, below 0x200 with 24, below 0x300 the outermost.
    fn rules(address: u64) -> Lookup {
        match address {
            ..0x100 => sp(16),
            0x100..0x200 => sp(24),
            _ => Lookup::Rule(Rule::END),
        }
    }

    #[test]
    fn walks_to_the_root() {
        let mut sample = sample(&[0, 0x150, 0, 0, 0x250]);
        assert!(finish(&mut sample, rules));
        assert_eq!((sample.user_frames(), sample.header.stop), (&[0x10, 0x150, 0x250][..], UnwindStop::Root as u32));
    }

    /// As gcc describes what follows `pop %rbp`.
    #[test]
    fn a_frame_pointer_below_the_stack_pointer_is_found() {
        let mut sample = sample(&[0x7020, 0x150, 0, 0x250]);
        sample.stack.as_mut().unwrap().head.cursor.sp += 8;
        let popped = Rule { cfa: cfa::SP, cfa_offset: 8, fp: fp::AT_CFA, fp_offset: -16, ..Rule::NONE };
        let by_frame_pointer = Rule { cfa: cfa::FP, cfa_offset: 0, ..Rule::NONE };
        let rule = |address| match address {
            0x10 => Lookup::Rule(popped),
            0x14f => Lookup::Rule(by_frame_pointer),
            _ => Lookup::Rule(Rule::END),
        };
        assert!(finish(&mut sample, rule));
        assert_eq!((sample.user_frames(), sample.header.stop), (&[0x10, 0x150, 0x250][..], UnwindStop::Root as u32));
    }

    #[test]
    fn a_copy_that_ends_too_early_says_so() {
        let mut sample = sample(&[0, 0x150, 0]);
        assert!(finish(&mut sample, rules));
        assert_eq!((sample.user_frames(), sample.header.stop), (&[0x10, 0x150][..], UnwindStop::CopyShort as u32));
    }

    #[test]
    fn another_stack_is_not_in_the_copy() {
        let mut sample = sample(&[0, 0]);
        sample.stack.as_mut().unwrap().head.cursor.fp = 0x6000;
        let switch = Rule { cfa: cfa::FP_SWITCH, cfa_offset: 16, ..Rule::NONE };
        assert!(finish(&mut sample, |_| Lookup::Rule(switch)));
        assert_eq!((sample.user_frames(), sample.header.stop), (&[0x10][..], UnwindStop::CopyShort as u32));
    }

    #[test]
    fn waits_for_a_table() {
        let mut sample = sample(&[0, 0x150, 0, 0, 0x250]);
        assert!(!finish(&mut sample, |address| if address < 0x100 { sp(16) } else { Lookup::Later }));
        assert_eq!((sample.user_frames(), sample.stack.is_some()), (&[0x10][..], true));
    }

    #[test]
    fn a_stack_that_goes_in_circles_ends() {
        let words = vec![0x150; 2048];
        let mut sample = sample(&words);
        assert!(finish(&mut sample, |_| sp(8)));
        assert_eq!(sample.header.user_frames as usize, MAX_USER_FRAMES);
        assert_eq!(sample.header.stop, UnwindStop::TooDeep as u32);
    }
}
