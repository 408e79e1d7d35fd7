//! A file that another process writes while it is read.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Bytes remembered of what was read last.
const SEAM_BYTES: u64 = 64;
/// Bytes of one file that are looked at in all; a program that logs code for days may get there.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// How far a growing file was read, and what stood there: one that was written anew does not have the same bytes there.
#[derive(Debug, Default)]
pub(super) struct Growing {
    offset: u64,
    seam: Vec<u8>,
}

impl Growing {
    /// Where to read on.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the file was cut short or written anew since.
    pub(super) fn is_another(&self, file: &File) -> bool {
        self.seam != self.read_seam(file)
    }

    /// Fills a buffer from some place on, as far as the file goes and `budget` lasts; says how much that is.
    pub(super) fn read(&self, file: &File, at: u64, buffer: &mut [u8], budget: &mut u64) -> usize {
        let most = (buffer.len() as u64).min(*budget).min(MAX_FILE_BYTES.saturating_sub(at)) as usize;
        let mut filled = 0;
        while filled < most {
            match file.read_at(&mut buffer[filled..most], at + filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => filled += bytes,
            }
        }
        *budget -= filled as u64;
        filled
    }

    /// Everything before `offset` is done with.
    pub(super) fn advance_to(&mut self, file: &File, offset: u64) {
        if offset != self.offset {
            self.offset = offset;
            self.seam = self.read_seam(file);
        }
    }

    fn read_seam(&self, file: &File) -> Vec<u8> {
        let mut seam = vec![0; SEAM_BYTES.min(self.offset) as usize];
        let start = self.offset - seam.len() as u64;
        let filled = self.read(file, start, &mut seam, &mut u64::from(u32::MAX));
        seam.truncate(filled);
        seam
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_a_file_that_was_written_anew() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[b'a'; 200], 0).unwrap();
        let mut growing = Growing::default();
        let (mut buffer, mut budget) = ([0; 1000], 150);
        assert!(!growing.is_another(&file));
        assert_eq!((growing.read(&file, 0, &mut buffer, &mut budget), budget), (150, 0));
        growing.advance_to(&file, 150);
        assert!(!growing.is_another(&file));
        file.write_all_at(&[b'b'; 200], 200).unwrap();
        assert!(!growing.is_another(&file), "it has only grown");
        file.write_all_at(b"c", 100).unwrap();
        assert!(growing.is_another(&file), "another text");
        file.write_all_at(b"a", 100).unwrap();
        file.set_len(149).unwrap();
        assert!(growing.is_another(&file), "shorter");
    }

    #[test]
    fn a_sparse_file_ends_somewhere() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 40).unwrap();
        let growing = Growing::default();
        assert_eq!(growing.read(&file, (1 << 30) - 3, &mut [0; 10], &mut 1000), 3);
        assert_eq!(growing.read(&file, 8 << 39, &mut [0; 10], &mut 1000), 0);
    }
}
