//! Values by program counter: Go packs them as pairs of differences, value then distance, in variable-length numbers.
//!
//! Format: `runtime.pcvalue` and `runtime.step`.

/// Steps through one table. Each item is a value and where it ends, as a distance from the function's entry; the
/// distances ascend.
pub(super) struct Values<'a> {
    bytes: &'a [u8],
    quantum: u64,
    value: i32,
    end: u64,
    /// The bytes gave out before the table's end.
    pub(super) cut: bool,
}

impl<'a> Values<'a> {
    /// A table from its first byte on; `quantum` is the size of the shortest instruction.
    pub(super) fn new(bytes: &'a [u8], quantum: u64) -> Self {
        Self { bytes, quantum, value: -1, end: 0, cut: false }
    }

    /// At most 5 bytes, 7 bits each, the lowest first.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let Some((&byte, rest)) = self.bytes.split_first() else {
                self.cut = true;
                return None;
            };
            self.bytes = rest;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

impl Iterator for Values<'_> {
    type Item = (i32, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let difference = self.number()?;
        if difference == 0 && self.end > 0 {
            return None;
        }
        // Zigzag: the lowest bit is the sign.
        self.value = self.value.wrapping_add((difference >> 1) as i32 ^ -((difference & 1) as i32));
        let distance = u64::from(self.number()?) * self.quantum;
        // A table that does not go on would never end.
        (distance > 0).then(|| {
            self.end += distance;
            (self.value, self.end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_until_their_end() {
        // +1 for 4, +8 for 300, -8 for 2, end.
        let bytes = [2, 4, 16, 0xac, 2, 15, 2, 0];
        let values: Vec<_> = Values::new(&bytes, 1).collect();
        assert_eq!(values, [(0, 4), (8, 304), (0, 306)]);
        let values: Vec<_> = Values::new(&bytes, 4).collect();
        assert_eq!(values, [(0, 16), (8, 1216), (0, 1224)]);
    }

    #[test]
    fn a_table_without_progress_ends() {
        assert_eq!(Values::new(&[2, 0, 2, 0, 2, 0], 1).count(), 0);
        assert_eq!(Values::new(&[2, 1, 2, 0, 2, 1], 1).count(), 1);
        assert_eq!(Values::new(&[0xff; 64], 1).count(), 0);
    }

    #[test]
    fn a_table_that_is_cut_says_so() {
        let mut values = Values::new(&[2, 4, 16], 1);
        assert_eq!(values.by_ref().count(), 1);
        assert!(values.cut);
        let mut values = Values::new(&[2, 4, 0, 9], 1);
        assert_eq!(values.by_ref().count(), 1);
        assert!(!values.cut);
    }
}
