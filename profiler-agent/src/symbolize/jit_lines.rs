//! Source lines of code made at run time, as jitdump files have them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Lines of one process: 24 MiB.
const MAX_LINES: usize = 2 << 20;
/// Source files of one process.
const MAX_FILES: usize = 65_536;
/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 4096;
/// Address, line, discriminator; then the file's name.
const ENTRY_BYTES: usize = 16;
/// The name of the entry before.
const SAME_FILE: &[u8] = b"\xff";
/// V8 adds the size of the ELF header that `perf inject` puts before the code.
const ELF_HEADER_BYTES: u64 = 0x40;

/// Byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// The number at an offset.
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if self == Self::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// The number at an offset.
    pub(super) fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
        Some(if self == Self::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    }
}

/// File and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Path as the writer has it.
    pub(crate) file: Arc<str>,
    /// From 1; 0 when unknown.
    pub(crate) line: u32,
}

/// From its offset in the function on, the code is of this line.
#[derive(Clone, Copy)]
struct Row {
    offset: u32,
    line: u32,
    file: u32,
}

/// All lines of a process.
#[derive(Default)]
pub(super) struct Lines {
    /// Of one function after the other, each sorted by offset.
    rows: Vec<Row>,
    files: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
    files_bytes: usize,
}

impl Lines {
    /// Keeps the entries of one record of lines, for code that starts at `start`; says where they are.
    pub(super) fn read(&mut self, order: Order, start: u64, mut entries: &[u8]) -> Range<u32> {
        let first = self.rows.len();
        let mut file = None;
        while let (Some(address), Some(line)) = (order.u64(entries, 0), order.u32(entries, 8)) {
            let Some(name) = entries.get(ENTRY_BYTES..) else { break };
            let Some(length) = name.iter().position(|&byte| byte == 0) else { break };
            if &name[..length] != SAME_FILE {
                file = self.file(&name[..length]);
            }
            entries = &name[length + 1..];
            let offset = address.checked_sub(start).and_then(|offset| u32::try_from(offset).ok());
            if let (Some(offset), Some(file), true) = (offset, file, self.rows.len() < MAX_LINES) {
                self.rows.push(Row { offset, line, file });
            }
        }
        let rows = &mut self.rows[first..];
        rows.sort_by_key(|row| row.offset);
        // No honest code has its first line exactly there.
        if rows.first().is_some_and(|row| u64::from(row.offset) == ELF_HEADER_BYTES) {
            rows.iter_mut().for_each(|row| row.offset -= ELF_HEADER_BYTES as u32);
        }
        first as u32..self.rows.len() as u32
    }

    /// The line of an offset in a function; `rows` are its lines.
    pub(super) fn find(&self, rows: &Range<u32>, offset: u64) -> Option<Place> {
        let rows = self.rows.get(rows.start as usize..rows.end as usize)?;
        let row = rows[..rows.partition_point(|row| u64::from(row.offset) <= offset)].last()?;
        Some(Place { file: Arc::clone(self.files.get(row.file as usize)?), line: row.line })
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.files_bytes
    }

    fn file(&mut self, name: &[u8]) -> Option<u32> {
        let name = String::from_utf8_lossy(&name[..name.len().min(MAX_PATH_BYTES)]);
        if let Some(&known) = self.by_name.get(&*name) {
            return Some(known);
        }
        if self.files.len() >= MAX_FILES || name.is_empty() {
            return None;
        }
        let index = self.files.len() as u32;
        let name: Arc<str> = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().into();
        self.files_bytes += name.len() + 64;
        self.files.push(Arc::clone(&name));
        self.by_name.insert(name, index);
        Some(index)
    }
}
