//! What the first instructions of a function do with the frame pointer, and which offsets the runtime's own assembly
//! uses. Go's assembler writes each of them in one way only; compiled code is never looked at.

use super::image::Machine;

/// `push %rbp`
const PUSH_BP: u8 = 0x55;
/// `mov %rsp, %rbp`
const MOV_SP_BP: [u8; 3] = [0x48, 0x89, 0xe5];
/// `sub x29, sp, #8`
const SUB_FP_SP_8: u32 = 0xd100_23fd;
/// `mov sp, x0`; x13 and x20 differ in the register.
const MOV_SP_X0: u32 = 0x9100_001f;

/// Where the frame pointer is stored in the frame of a function without the assembler's own prologue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Store {
    /// Place of the instruction.
    pub(super) at: usize,
    /// Distance of the slot from the stack pointer then.
    pub(super) slot: i32,
}

/// Code of a function.
#[derive(Clone, Copy)]
pub(super) struct Code<'a> {
    pub(super) machine: Machine,
    pub(super) bytes: &'a [u8],
}

impl<'a> Code<'a> {
    fn word(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
    }

    /// Instructions of aarch64 and where they are.
    fn words(&self) -> impl Iterator<Item = (usize, u32)> + use<'a> {
        let words = self.bytes.chunks_exact(4).map(|word| word.first_chunk().copied().map_or(0, u32::from_le_bytes));
        words.enumerate().map(|(index, word)| (4 * index, word))
    }

    /// The first place where bytes of this shape lie, and 4 bytes from there on.
    fn find(&self, shape: impl Fn(&[u8; 4]) -> bool) -> Option<usize> {
        self.bytes.windows(4).position(|bytes| bytes.first_chunk().is_some_and(&shape))
    }

    /// Where the frame pointer points at the frame, when the frame was opened at a place by the assembler's prologue.
    pub(super) fn frame_pointer_set(&self, opened: usize) -> Option<usize> {
        match self.machine {
            Machine::X86_64 => {
                let rest = self.bytes.get(opened..)?;
                if rest.starts_with(&MOV_SP_BP) && self.pushes_frame_pointer(opened) {
                    return Some(opened + MOV_SP_BP.len());
                }
                // Up to Go 1.20: `mov %rbp, n(%rsp); lea n(%rsp), %rbp`.
                match rest {
                    [0x48, 0x89, 0x6c, 0x24, ..] => Some(opened + 10),
                    [0x48, 0x89, 0xac, 0x24, ..] => Some(opened + 16),
                    _ => None,
                }
            }
            Machine::Aarch64 => {
                let before = self.word(opened.checked_sub(4)?)?;
                // `str x30, [sp, #-n]!`, or `mov sp, x20` of a large frame.
                let framed = before & 0xffe0_0fff == 0xf800_0ffe || before == MOV_SP_X0 | 20 << 5;
                let next = [opened, opened + 4].into_iter().find(|at| self.word(*at) == Some(SUB_FP_SP_8));
                next.filter(|_| framed).map(|at| at + 4)
            }
        }
    }

    /// Whether the frame was opened by pushing the frame pointer, x86_64.
    pub(super) fn pushes_frame_pointer(&self, opened: usize) -> bool {
        opened.checked_sub(1).and_then(|at| self.bytes.get(at)) == Some(&PUSH_BP)
    }

    /// Where a function without that prologue stores the frame pointer; on aarch64 with the link register above it.
    pub(super) fn frame_pointer_store(&self) -> Option<Store> {
        match self.machine {
            Machine::X86_64 => {
                let at = self.find(|bytes| matches!(bytes, [0x48, 0x89, 0x6c | 0xac, 0x24]))?;
                let slot = if self.bytes[at + 2] == 0x6c {
                    i32::from(*self.bytes.get(at + 4)? as i8)
                } else {
                    self.word(at + 4)? as i32
                };
                Some(Store { at, slot })
            }
            Machine::Aarch64 => {
                // `stp x29, x30, [sp, #n]`
                let (at, word) = self.words().find(|(_, word)| word & 0xffc0_7fff == 0xa900_7bfd)?;
                Some(Store { at, slot: ((word << 10) as i32 >> 25) * 8 })
            }
        }
    }

    /// Offset of `g` from the thread pointer, x86_64: `mov %fs:n, %reg`, or `mov $n, %rcx; mov %fs:(%rcx), %reg`.
    pub(super) fn thread_local_g(&self) -> Option<i32> {
        let direct = self.find(|bytes| bytes[..3] == [0x64, 0x48, 0x8b] && bytes[3] & 0xc7 == 0x04);
        if let Some(at) = direct.filter(|at| self.bytes.get(at + 4) == Some(&0x25)) {
            return Some(self.word(at + 5)? as i32);
        }
        let at = self.find(|bytes| bytes[..3] == [0x48, 0xc7, 0xc1])?;
        let load = self.bytes.get(at + 7..)?;
        (load.starts_with(&[0x64, 0x48, 0x8b])).then(|| self.word(at + 3)).flatten().map(|offset| offset as i32)
    }

    /// Offset of `m.curg`, from `runtime.systemstack`: the first comparison with a field that is not near.
    pub(super) fn current_goroutine(&self) -> Option<i32> {
        match self.machine {
            // `cmp n(%rbx), %rax`
            Machine::X86_64 => {
                let at = self.find(|bytes| bytes[..3] == [0x48, 0x3b, 0x83])?;
                Some(self.word(at + 3)? as i32)
            }
            // `ldr x6, [x4, #n]`
            Machine::Aarch64 => self.words().find_map(|(_, word)| scaled(word, 0xf940_0086)),
        }
    }

    /// Offset of the saved frame pointer in `g`, from `runtime.morestack`.
    pub(super) fn saved_frame_pointer(&self) -> Option<i32> {
        match self.machine {
            // `mov %rbp, n(%reg)`, not by the stack pointer.
            Machine::X86_64 => {
                let shape = |bytes: &[u8; 4]| bytes[..2] == [0x48, 0x89] && bytes[2] & 0xf8 == 0x68 && bytes[2] != 0x6c;
                Some(i32::from(self.bytes[self.find(shape)? + 3]))
            }
            // `str x29, [x28, #n]`
            Machine::Aarch64 => self.words().find_map(|(_, word)| scaled(word, 0xf900_039d)),
        }
    }

    /// Places after each load of the frame pointer from `g`, aarch64.
    pub(super) fn frame_pointer_loads(&self) -> Vec<usize> {
        // `ldr x29, [x28, #n]`
        let found = self.words().filter(|(_, word)| scaled(*word, 0xf940_039d).is_some());
        found.map(|(at, _)| at + 4).collect()
    }

    /// Places after each change to the stack pointer that `runtime.morestack` and `runtime.asmcgocall` found elsewhere.
    pub(super) fn switches(&self) -> Vec<usize> {
        match self.machine {
            // `mov 56(%reg), %rsp`
            Machine::X86_64 => {
                let places = self.bytes.windows(4).enumerate();
                let found = places.filter(|(_, bytes)| matches!(bytes, [0x48, 0x8b, 0x60..=0x67, 0x38]));
                found.map(|(at, _)| at + 4).collect()
            }
            // `mov sp, x0` and `mov sp, x13`
            Machine::Aarch64 => {
                let found = self.words().filter(|(_, word)| [MOV_SP_X0, MOV_SP_X0 | 13 << 5].contains(word));
                found.map(|(at, _)| at + 4).collect()
            }
        }
    }
}

/// The offset of a load or store of 8 bytes that is otherwise this instruction.
fn scaled(word: u32, instruction: u32) -> Option<i32> {
    (word & !(0xfff << 10) == instruction).then_some(((word >> 10 & 0xfff) * 8) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86(bytes: &[u8]) -> Code<'_> {
        Code { machine: Machine::X86_64, bytes }
    }

    #[test]
    fn knows_the_prologues_of_x86_64() {
        assert_eq!(x86(&[0x55, 0x48, 0x89, 0xe5]).frame_pointer_set(1), Some(4));
        assert_eq!(x86(&[0x53, 0x48, 0x89, 0xe5]).frame_pointer_set(1), None);
        let old = [0x48, 0x83, 0xec, 0x20, 0x48, 0x89, 0x6c, 0x24, 0x18, 0x48, 0x8d, 0x6c, 0x24, 0x18];
        assert_eq!(x86(&old).frame_pointer_set(4), Some(14));
        assert_eq!(x86(&old).frame_pointer_store(), Some(Store { at: 4, slot: 24 }));
        assert_eq!(x86(&old[..8]).frame_pointer_store(), None);
        assert_eq!(x86(&[]).frame_pointer_set(7), None);
    }

    #[test]
    fn knows_the_prologues_of_aarch64() {
        // str x30, [sp, #-64]!; stur x29, [sp, #-8]; sub x29, sp, #8
        let bytes = [0xf81c_0ffe_u32, 0xf81f_83fd, 0xd100_23fd].map(u32::to_le_bytes).concat();
        let code = Code { machine: Machine::Aarch64, bytes: &bytes };
        assert_eq!(code.frame_pointer_set(4), Some(12));
        // sub sp, sp, #192; stp x29, x30, [sp, #176]
        let bytes = [0xd103_03ff_u32, 0xa90b_7bfd].map(u32::to_le_bytes).concat();
        let code = Code { machine: Machine::Aarch64, bytes: &bytes };
        assert_eq!(code.frame_pointer_set(4), None);
        assert_eq!(code.frame_pointer_store(), Some(Store { at: 4, slot: 176 }));
    }

    #[test]
    fn knows_how_g_is_found() {
        assert_eq!(x86(&[0x64, 0x48, 0x8b, 0x3c, 0x25, 0xf8, 0xff, 0xff, 0xff]).thread_local_g(), Some(-8));
        let relaxed = [0x48, 0xc7, 0xc1, 0xe8, 0xff, 0xff, 0xff, 0x64, 0x48, 0x8b, 0x39];
        assert_eq!(x86(&relaxed).thread_local_g(), Some(-24));
        assert_eq!(x86(&[0x64, 0x48, 0x8b, 0x3c]).thread_local_g(), None);
        assert_eq!(x86(&[0x48, 0x3b, 0x43, 0x48, 0x48, 0x3b, 0x83, 0xb8, 0, 0, 0]).current_goroutine(), Some(184));
        assert_eq!(x86(&[0x48, 0x89, 0x6f, 0x60]).saved_frame_pointer(), Some(96));
    }
}
