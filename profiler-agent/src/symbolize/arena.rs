//! Many strings in one allocation.

/// Longest string kept, in bytes; what is longer is cut.
pub(super) const MAX_STRING_BYTES: usize = 2048;
/// Bytes of one arena: indices have 32 bits, and no honest process has more names.
const MAX_ARENA_BYTES: usize = 256 << 20;

/// Strings one after the other, each behind its length in two bytes.
#[derive(Debug, Default)]
pub(super) struct Arena(Vec<u8>);

impl Arena {
    /// Keeps a string of hostile bytes: text, without control characters, perhaps cut. None when the arena is full.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<u32> {
        if self.0.len() + MAX_STRING_BYTES + 2 > MAX_ARENA_BYTES {
            return None;
        }
        let at = self.0.len() as u32;
        self.0.extend([0, 0]);
        let bytes = &bytes[..bytes.len().min(MAX_STRING_BYTES)];
        match bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            true => self.0.extend(bytes),
            false => self.extend_printable(&String::from_utf8_lossy(bytes)),
        }
        let length = (self.0.len() - at as usize - 2) as u16;
        self.0[at as usize..][..2].copy_from_slice(&length.to_le_bytes());
        Some(at)
    }

    /// A replaced byte is longer than it was: cuts again.
    fn extend_printable(&mut self, text: &str) {
        let end = text.floor_char_boundary(MAX_STRING_BYTES);
        for c in text[..end].chars().map(|c| if c.is_control() { '?' } else { c }) {
            self.0.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// The string that [`Arena::push`] gave this index.
    pub(super) fn get(&self, at: u32) -> &str {
        let at = at as usize;
        let length = self.0.get(at..at + 2).map_or(0, |length| u16::from_le_bytes([length[0], length[1]]));
        let bytes = self.0.get(at + 2..at + 2 + usize::from(length)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity()
    }

    /// Gives unused memory back.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_text_and_nothing_else() {
        let mut arena = Arena::default();
        let indices: Vec<u32> = [&b"a b"[..], b"", b"x\x1b[31m\xff", &[b'n'; 5000], &[0xff; 5000]]
            .iter()
            .map(|bytes| arena.push(bytes).unwrap())
            .collect();
        let kept: Vec<&str> = indices.iter().map(|&at| arena.get(at)).collect();
        assert_eq!(kept[..3], ["a b", "", "x?[31m\u{fffd}"]);
        assert_eq!(kept[3], "n".repeat(2048));
        assert_eq!(kept[4].chars().count(), 682);
        assert_eq!(arena.get(u32::MAX), "");
    }
}
