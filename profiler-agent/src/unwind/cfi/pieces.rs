//! Parts of a file, read piece by piece with `pread`: never mapped, because the file may be cut short meanwhile, and
//! never more than what really is on its disk.

use super::NoTable;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt as _;

/// Bytes of call frame information: ten times those of the largest browser.
pub(super) const MAX_SECTION_BYTES: u64 = 256 << 20;
/// Bytes read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A range of a file.
pub(super) struct Range<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl<'a> Range<'a> {
    /// The range of this length.
    pub(super) fn new(file: &'a File, at: u64, bytes: u64) -> Self {
        Self { file, at, end: at.saturating_add(bytes) }
    }
}

impl Read for Range<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(into.len());
        let read = self.file.read_at(&mut into[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A table of at most `limit` bytes at an offset of the file.
pub(super) fn table(file: &File, at: u64, bytes: u64, limit: u64) -> Result<Vec<u8>, NoTable> {
    if bytes > limit {
        return Err(NoTable::TooLarge);
    }
    let mut table = vec![0; bytes as usize];
    file.read_exact_at(&mut table, at).map_err(reason)?;
    Ok(table)
}

/// Everything up to the end or to the first piece of zeros: nothing comes after the holes of a sparse file.
pub(super) fn content(mut source: impl Read, bytes: u64) -> Result<Vec<u8>, NoTable> {
    if bytes > MAX_SECTION_BYTES {
        return Err(NoTable::TooLarge);
    }
    let mut content = Vec::new();
    while (content.len() as u64) < bytes {
        let start = content.len();
        let wanted = (bytes as usize - start).min(PIECE_BYTES);
        // Room as it is filled: a size that is merely claimed costs nothing.
        content.try_reserve(wanted).map_err(|_| NoTable::TooLarge)?;
        content.resize(start + wanted, 0);
        source.read_exact(&mut content[start..]).map_err(reason)?;
        if content[start..].iter().all(|&byte| byte == 0) {
            content.truncate(start);
            break;
        }
    }
    Ok(content)
}

/// A file that ends early is garbage; what the disk refuses is not the file's fault.
fn reason(error: io::Error) -> NoTable {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput => NoTable::Malformed,
        _ => NoTable::ReadError,
    }
}
