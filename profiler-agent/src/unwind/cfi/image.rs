//! What a file puts into memory, read by address.

use super::pieces;
use object::LittleEndian;
use object::elf::{self, ProgramHeader64};
use std::fs::File;

/// Load segments looked at: many times what any linker makes.
const MAX_LOADS: usize = 256;

const E: LittleEndian = LittleEndian;

/// Load segments of a file.
pub(super) struct Image<'a> {
    file: &'a File,
    loads: Vec<Load>,
}

struct Load {
    address: u64,
    at: u64,
    bytes: u64,
    is_code: bool,
}

impl Load {
    fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|distance| distance < self.bytes)
    }
}

impl<'a> Image<'a> {
    /// The load segments among program headers.
    pub(super) fn new(file: &'a File, segments: &[ProgramHeader64<LittleEndian>]) -> Self {
        let loads = segments.iter().filter(|segment| segment.p_type.get(E) == elf::PT_LOAD);
        let load = |segment: &ProgramHeader64<LittleEndian>| Load {
            address: segment.p_vaddr.get(E),
            at: segment.p_offset.get(E),
            bytes: segment.p_filesz.get(E),
            is_code: segment.p_flags.get(E).contains(elf::PF_X),
        };
        Self { file, loads: loads.take(MAX_LOADS).map(load).collect() }
    }

    /// Bytes at an address, fewer where the file has no more; none when it has none there.
    pub(super) fn data(&self, address: u64, bytes: u64) -> Option<Vec<u8>> {
        self.read(address, bytes, |_| true)
    }

    /// The same of code.
    pub(super) fn code(&self, address: u64, bytes: u64) -> Option<Vec<u8>> {
        self.read(address, bytes, |load| load.is_code)
    }

    /// Whether there is code at an address.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.is_code && load.holds(address))
    }

    fn read(&self, address: u64, bytes: u64, wanted: impl Fn(&Load) -> bool) -> Option<Vec<u8>> {
        let load = self.loads.iter().find(|load| wanted(load) && load.holds(address))?;
        let distance = address - load.address;
        let bytes = bytes.min(load.bytes - distance);
        pieces::table(self.file, load.at.checked_add(distance)?, bytes, bytes).ok()
    }
}
