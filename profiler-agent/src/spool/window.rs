//! The format of window files: headers to values and back.

use super::{MAX_PART_BYTES, NewPart, PartId, StoredPart};

/// The version written.
pub(super) const VERSION: u32 = 1;
/// Bytes of a file's header.
pub(super) const HEADER_BYTES: usize = 32;
/// Bytes of a record before its body.
pub(super) const RECORD_BYTES: usize = 56;
/// How a record begins.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"PREC";

/// Numbers are below this, so that there is always a next one.
pub(super) const MAX_NUMBER: u64 = 1 << 62;

const HEADER_MAGIC: [u8; 8] = *b"PRFWINDW";
const SUFFIX: &str = ".window";
const UNFINISHED_SUFFIX: &str = ".tmp";

/// Name of a window's file.
pub(super) fn name(window: u64) -> String {
    format!("{window:016x}{SUFFIX}")
}

/// Its name until it is whole.
pub(super) fn unfinished_name(window: u64) -> String {
    format!("{window:016x}{UNFINISHED_SUFFIX}")
}

/// Number of the window whose file has this name.
pub(super) fn number(name: &str) -> Option<u64> {
    digits(name.strip_suffix(SUFFIX)?)
}

/// Number of the window that was not finished.
pub(super) fn unfinished_number(name: &str) -> Option<u64> {
    digits(name.strip_suffix(UNFINISHED_SUFFIX)?)
}

/// Lower case and whole, so that a number has one name.
fn digits(text: &str) -> Option<u64> {
    let known = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(text, 16).ok().filter(|number| known && *number < MAX_NUMBER)
}

/// What stands before the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) window: u64,
    pub(super) records: u32,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&HEADER_MAGIC);
        bytes[12..16].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.window.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.records.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// None where it is damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let valid = bytes[..8] == HEADER_MAGIC && word(bytes, 8) == crc32fast::hash(&bytes[12..]);
        valid.then(|| Self { version: word(bytes, 12), window: long(bytes, 16), records: word(bytes, 24) })
    }
}

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) part: StoredPart,
    /// Checksum of the body.
    pub(super) checksum: u32,
}

impl Record {
    /// None where the part is larger than it may be.
    pub(super) fn new(id: PartId, part: &NewPart) -> Option<Self> {
        let &NewPart { ref body, samples, start_unix_ns, end_unix_ns } = part;
        let part = StoredPart { id, samples, bytes: body.len() as u64, start_unix_ns, end_unix_ns };
        (body.len() <= MAX_PART_BYTES).then(|| Self { part, checksum: crc32fast::hash(body) })
    }

    pub(super) fn encode(&self) -> [u8; RECORD_BYTES] {
        let StoredPart { id, samples, bytes: length, start_unix_ns, end_unix_ns } = self.part;
        let mut bytes = [0; RECORD_BYTES];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        // At most MAX_PART_BYTES.
        bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[16..24].copy_from_slice(&id.window.to_le_bytes());
        bytes[24..28].copy_from_slice(&id.index.to_le_bytes());
        bytes[32..40].copy_from_slice(&samples.to_le_bytes());
        bytes[40..48].copy_from_slice(&start_unix_ns.to_le_bytes());
        bytes[48..56].copy_from_slice(&end_unix_ns.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// None where no record of this window begins.
    pub(super) fn decode(bytes: &[u8], window: u64) -> Option<Self> {
        let bytes: &[u8; RECORD_BYTES] = bytes.first_chunk()?;
        let valid = bytes[..4] == RECORD_MAGIC && word(bytes, 4) == crc32fast::hash(&bytes[8..]);
        let part = StoredPart {
            id: PartId { window: long(bytes, 16), index: word(bytes, 24) },
            samples: long(bytes, 32),
            bytes: u64::from(word(bytes, 8)),
            start_unix_ns: long(bytes, 40),
            end_unix_ns: long(bytes, 48),
        };
        let ours = part.id.window == window && part.bytes <= MAX_PART_BYTES as u64;
        (valid && ours).then(|| Self { part, checksum: word(bytes, 12) })
    }

    /// Bytes of the whole record.
    pub(super) fn size(&self) -> u64 {
        RECORD_BYTES as u64 + self.part.bytes
    }
}

/// The number at an offset; the callers' offsets are constants within fixed sizes.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}

/// The same of 8 bytes.
pub(super) fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_name() {
        assert_eq!(name(0x1f), "000000000000001f.window");
        assert_eq!(unfinished_name(0xfeed), "000000000000feed.tmp");
        assert_eq!(number("000000000000001f.window"), Some(0x1f));
        assert_eq!(unfinished_number("000000000000001f.tmp"), Some(0x1f));
        for other in [
            "1f.window",
            "000000000000001F.window",
            "+00000000000001f.window",
            "000000000000001f",
            "ffffffffffffffff.window",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn headers_stand_for_their_values() {
        let header = Header { version: 1, window: 0x0102_0304, records: 7 };
        let bytes = header.encode();
        assert_eq!(bytes[..8], *b"PRFWINDW");
        assert_eq!(bytes[12..28], [1, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(Header::decode(&bytes), Some(header));
        assert_eq!(Header::decode(&bytes[..31]), None);
    }

    #[test]
    fn a_record_of_another_window_or_too_large_is_none() {
        let part = NewPart { body: bytes::Bytes::from_static(b"body"), samples: 3, start_unix_ns: 4, end_unix_ns: 5 };
        let record = Record::new(PartId { window: 2, index: 1 }, &part).unwrap();
        assert_eq!(Record::decode(&record.encode(), 2), Some(record));
        assert_eq!(Record::decode(&record.encode(), 3), None);
        let large = Record { part: StoredPart { bytes: MAX_PART_BYTES as u64 + 1, ..record.part }, ..record };
        assert_eq!(Record::decode(&large.encode(), 2), None);
        let body = bytes::Bytes::from(vec![0; MAX_PART_BYTES + 1]);
        assert_eq!(Record::new(record.part.id, &NewPart { body, ..part }), None);
    }
}
