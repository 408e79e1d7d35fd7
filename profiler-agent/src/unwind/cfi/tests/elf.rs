//! Small ELF files.

use super::super::{NoTable, build};
use crate::unwind::UnwindTable;
use std::fs::File;
use std::io::Write as _;

/// Addresses of the code.
pub(super) const CODE: u64 = 0x40_1000;
pub(super) const CODE_BYTES: u64 = 0x10_0000;
/// Address of `.eh_frame_hdr`; `.eh_frame` follows it.
const DATA: u64 = 0x80_0000;
const DATA_AT: u64 = 0x1000;
const EH_FRAME_HDR_BYTES: u64 = 16;
/// Address of instructions, where a file has any.
pub(super) const TEXT: u64 = CODE + TEXT_AT;
const TEXT_AT: u64 = 0x8000;
/// Address of `.eh_frame`.
pub(super) const EH_FRAME: u64 = DATA + EH_FRAME_HDR_BYTES;

/// A file with call frame information.
#[derive(Clone)]
pub(super) struct Elf {
    pub(super) machine: u16,
    pub(super) eh_frame: Option<Vec<u8>>,
    /// Content and flags.
    pub(super) debug_frame: Option<(Vec<u8>, u64)>,
    /// Whether the file has section headers.
    pub(super) sections: bool,
    /// Instructions at [`TEXT`].
    pub(super) text: Vec<u8>,
    /// Address of `.fini_array` in the instructions, and its bytes.
    pub(super) fini_array: Option<(u64, usize)>,
}

impl Default for Elf {
    fn default() -> Self {
        Self {
            machine: X86_64.machine,
            eh_frame: None,
            debug_frame: None,
            sections: true,
            text: Vec::new(),
            fini_array: None,
        }
    }
}

impl Elf {
    pub(super) fn table(&self) -> Result<UnwindTable, NoTable> {
        let bytes = self.bytes();
        let file = file(&bytes);
        // The code itself does not matter, only that there is room for it.
        file.set_len(CODE_BYTES.max(bytes.len() as u64)).unwrap();
        build(&file)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let eh_frame = self.eh_frame.clone().unwrap_or_default();
        let (debug_frame, debug_flags) = self.debug_frame.clone().unwrap_or_default();
        let data_bytes = EH_FRAME_HDR_BYTES + eh_frame.len() as u64;
        let debug_at = DATA_AT + data_bytes;
        let names = b"\0.shstrtab\0.eh_frame\0.debug_frame\0.fini_array\0";
        let names_at = debug_at + debug_frame.len() as u64;
        let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
        // Nothing in the file, unless it has instructions.
        let text_bytes = if self.text.is_empty() { 0 } else { TEXT_AT + self.text.len() as u64 };
        let mut segments =
            vec![segment(1, 5, 0, CODE, text_bytes, CODE_BYTES), segment(1, 4, DATA_AT, DATA, data_bytes, data_bytes)];
        if self.eh_frame.is_some() {
            segments.push(segment(0x6474_e550, 4, DATA_AT, DATA, EH_FRAME_HDR_BYTES, EH_FRAME_HDR_BYTES));
        }
        let mut sections = vec![vec![0; 64], section(1, 3, 0, 0, names_at, names.len())];
        if self.eh_frame.is_some() {
            sections.push(section(11, 1, 2, EH_FRAME, DATA_AT + EH_FRAME_HDR_BYTES, eh_frame.len()));
        }
        if self.debug_frame.is_some() {
            sections.push(section(21, 1, debug_flags, 0, debug_at, debug_frame.len()));
        }
        if let Some((address, bytes)) = self.fini_array {
            sections.push(section(34, 15, 2, address, address - CODE, bytes));
        }
        let sections_at = if self.sections { sections_at } else { 0 };
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([2, self.machine].map(u16::to_le_bytes).concat());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend([CODE, 64, sections_at].map(u64::to_le_bytes).concat());
        bytes.extend(0_u32.to_le_bytes());
        let count = if self.sections { sections.len() as u16 } else { 0 };
        bytes.extend([64, 56, segments.len() as u16, 64, count, count.min(1)].map(u16::to_le_bytes).concat());
        bytes.extend(segments.concat());
        bytes.resize(DATA_AT as usize, 0);
        // Version 1, pointer relative to itself in 4 bytes, no table.
        bytes.extend([1, 0x1b, 0xff, 0xff]);
        bytes.extend((EH_FRAME_HDR_BYTES as u32 - 4).to_le_bytes());
        bytes.resize((DATA_AT + EH_FRAME_HDR_BYTES) as usize, 0);
        bytes.extend(eh_frame);
        bytes.extend(debug_frame);
        if self.sections {
            bytes.extend(names);
            bytes.resize(sections_at as usize, 0);
            bytes.extend(sections.concat());
        }
        if !self.text.is_empty() {
            bytes.resize(TEXT_AT as usize, 0);
            bytes.extend(&self.text);
        }
        bytes
    }
}

/// A file with this content.
pub(super) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// What its functions have in common.
#[derive(Clone, Copy)]
pub(super) struct Cie {
    pub(super) machine: u16,
    pub(super) augmentation: &'static str,
    pub(super) code_alignment: u8,
    pub(super) return_address: u8,
    pub(super) instructions: &'static [u8],
}

/// As gcc writes it: `CFA = rsp + 8`, the return address below it.
pub(super) const X86_64: Cie = Cie {
    machine: 62,
    augmentation: "zR",
    code_alignment: 1,
    return_address: 16,
    instructions: &[0x0c, 7, 8, 0x90, 1],
};

/// As gcc writes it: `CFA = sp`.
pub(super) const AARCH64: Cie =
    Cie { machine: 183, augmentation: "zR", code_alignment: 4, return_address: 30, instructions: &[0x0c, 31, 0] };

/// Start, length and instructions of a function.
pub(super) type Function<'a> = (u64, u32, &'a [u8]);

/// `.eh_frame` with addresses relative to themselves, ended by zeros.
pub(super) fn eh_frame(cie: &Cie, functions: &[Function<'_>]) -> Vec<u8> {
    let mut frames = entry(&0_u32.to_le_bytes(), &cie.body(&[1, 0x1b]));
    for (start, length, instructions) in functions {
        let at = frames.len() as u64;
        let distance = (*start as i64 - (EH_FRAME + at + 8) as i64) as i32;
        let body = [&distance.to_le_bytes()[..], &length.to_le_bytes(), &[0], instructions].concat();
        frames.extend(entry(&(at as u32 + 4).to_le_bytes(), &body));
    }
    frames.extend([0; 4]);
    frames
}

/// `.debug_frame`, with whole addresses.
pub(super) fn debug_frame(cie: &Cie, functions: &[Function<'_>]) -> Vec<u8> {
    let mut frames = entry(&u32::MAX.to_le_bytes(), &Cie { augmentation: "", ..*cie }.body(&[]));
    for (start, length, instructions) in functions {
        let body = [&start.to_le_bytes()[..], &u64::from(*length).to_le_bytes(), instructions].concat();
        frames.extend(entry(&0_u32.to_le_bytes(), &body));
    }
    frames
}

impl Cie {
    fn body(&self, augmentation_data: &[u8]) -> Vec<u8> {
        let head = [&[1], self.augmentation.as_bytes(), &[0, self.code_alignment, 0x78, self.return_address]].concat();
        [&head, augmentation_data, self.instructions].concat()
    }
}

/// Length, identity, body, padded.
pub(super) fn entry(identity: &[u8], body: &[u8]) -> Vec<u8> {
    let mut entry = [identity, body].concat();
    entry.resize(entry.len().next_multiple_of(4), 0);
    [&(entry.len() as u32).to_le_bytes()[..], &entry].concat()
}

/// `Elf64_Phdr`
fn segment(kind: u32, flags: u32, at: u64, address: u64, file_bytes: u64, bytes: u64) -> Vec<u8> {
    let head = [kind, flags].map(u32::to_le_bytes).concat();
    [head, [at, address, address, file_bytes, bytes, 8].map(u64::to_le_bytes).concat()].concat()
}

/// `Elf64_Shdr`
fn section(name: u32, kind: u32, flags: u64, address: u64, at: u64, bytes: usize) -> Vec<u8> {
    let head = [name, kind].map(u32::to_le_bytes).concat();
    [head, [flags, address, at, bytes as u64, 0, 8, 0].map(u64::to_le_bytes).concat()].concat()
}
