//! Reads a window file, whatever became of it: time and memory are in proportion to its size.

use super::window::{HEADER_BYTES, Header, RECORD_BYTES, RECORD_MAGIC, Record, VERSION};
use super::{Disk, MAX_PARTS, MAX_WINDOW_BYTES};
use std::collections::BTreeMap;
use std::io;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// What a window file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Records(Records),
    /// Not for this program: of another version or another window, or too large.
    Foreign,
}

/// The valid records of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// By index: where the record begins.
    pub(super) found: BTreeMap<u32, (u64, Record)>,
    /// Records that the file should hold, by its header, else by what was found.
    pub(super) expected: u64,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// All is as it was written.
    pub(super) whole: bool,
}

/// Reads the window file of this name. Errors are those of the disk.
pub(super) fn scan(disk: &mut dyn Disk, name: &str, window: u64) -> io::Result<Scanned> {
    let bytes = disk.size(name)?;
    if bytes > MAX_WINDOW_BYTES {
        return Ok(Scanned::Foreign);
    }
    let mut file = Chunk { disk, name, size: bytes, start: 0, bytes: Vec::new() };
    let header = Header::decode(file.at(0, HEADER_BYTES)?);
    if header.is_some_and(|header| header.version != VERSION || header.window != window) {
        return Ok(Scanned::Foreign);
    }
    let mut found = BTreeMap::new();
    let mut at = HEADER_BYTES as u64;
    while at < bytes && found.len() < MAX_PARTS {
        let Some(record) = Record::decode(file.at(at, RECORD_BYTES)?, window) else {
            at = file.next_magic(at + 1)?;
            continue;
        };
        if file.checksum(at + RECORD_BYTES as u64, record.part.bytes)? == Some(record.checksum) {
            found.entry(record.part.id.index).or_insert((at, record));
        }
        // The length is verified, whatever became of the body: nothing within it is taken for a record.
        at += record.size();
    }
    let last = found.last_key_value().map_or(0, |(index, _)| u64::from(*index));
    let expected = header.map_or(last + 1, |header| u64::from(header.records)).max(found.len() as u64);
    let sizes: u64 = found.values().map(|(_, record)| record.size()).sum();
    let whole = header.is_some() && expected == found.len() as u64 && HEADER_BYTES as u64 + sizes == bytes;
    Ok(Scanned::Records(Records { found, expected, bytes, whole }))
}

/// A part of a file in memory.
struct Chunk<'a> {
    disk: &'a mut dyn Disk,
    name: &'a str,
    /// Bytes of the file.
    size: u64,
    /// Offset of the first byte held.
    start: u64,
    bytes: Vec<u8>,
}

impl Chunk<'_> {
    /// So many bytes at an offset, at most [`CHUNK_BYTES`]; fewer at the file's end.
    fn at(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let left = self.size.saturating_sub(offset).min(CHUNK_BYTES as u64) as usize;
        if !self.holds(offset, wanted.min(left)) {
            self.start = offset;
            self.bytes.clear();
            let mut bytes = vec![0; left];
            let read = read_full(self.disk, self.name, offset, &mut bytes)?;
            bytes.truncate(read);
            if bytes.len() < left {
                // It became shorter.
                self.size = offset + bytes.len() as u64;
            }
            self.bytes = bytes;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.bytes[from..self.bytes.len().min(from + wanted)])
    }

    fn holds(&self, offset: u64, wanted: usize) -> bool {
        offset.checked_sub(self.start).is_some_and(|from| from + wanted as u64 <= self.bytes.len() as u64)
    }

    /// Offset at or after this one where a record may begin; the file's end where none does.
    fn next_magic(&mut self, mut offset: u64) -> io::Result<u64> {
        loop {
            let held = self.at(offset, CHUNK_BYTES.min(self.held_after(offset)))?;
            let place = held.windows(RECORD_MAGIC.len()).position(|bytes| bytes == RECORD_MAGIC);
            match place {
                Some(place) => return Ok(offset + place as u64),
                None if held.len() < RECORD_MAGIC.len() => return Ok(offset + held.len() as u64),
                // Its beginning may be the end of what is held.
                None => offset += (held.len() - (RECORD_MAGIC.len() - 1)) as u64,
            }
        }
    }

    /// Bytes held from an offset on, if they can hold a magic; else as many as can be read.
    fn held_after(&self, offset: u64) -> usize {
        let held = offset.checked_sub(self.start).map_or(0, |from| (self.bytes.len() as u64).saturating_sub(from));
        if held < RECORD_MAGIC.len() as u64 { CHUNK_BYTES } else { held as usize }
    }

    /// Checksum of so many bytes; none where the file ends before.
    fn checksum(&mut self, mut offset: u64, mut left: u64) -> io::Result<Option<u32>> {
        let mut hasher = crc32fast::Hasher::new();
        while left > 0 {
            let bytes = self.at(offset, left.min(CHUNK_BYTES as u64) as usize)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            hasher.update(bytes);
            let read = bytes.len() as u64;
            (offset, left) = (offset + read, left - read);
        }
        Ok(Some(hasher.finalize()))
    }
}

/// Fills the buffer as far as the file goes; how many bytes.
pub(super) fn read_full(disk: &mut dyn Disk, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match disk.read(name, offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all bytes.
pub(super) fn write_full(disk: &mut dyn Disk, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match disk.write(name, offset + written as u64, &bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
