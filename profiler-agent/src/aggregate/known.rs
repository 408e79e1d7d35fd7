//! Frames of a window by where they were seen: what a process maps at an address is looked up once.

/// Entries; 384 KiB.
const ENTRIES: usize = 1 << 14;

/// What an address leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownFrame {
    /// Index into the window's frames.
    pub frame: u32,
    /// Id of the executable.
    pub executable: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Number of the mappings it was found in; 0 in an empty entry.
    mappings: u64,
    address: u64,
    known: KnownFrame,
}

/// The frames last seen, each in the one place that its address leads to.
#[derive(Debug)]
pub struct KnownFrames(Box<[Entry]>);

impl Default for KnownFrames {
    fn default() -> Self {
        Self(vec![Entry::default(); ENTRIES].into())
    }
}

impl KnownFrames {
    /// What is known of an address in mappings with a number, which is not 0.
    #[must_use]
    pub fn get(&self, mappings: u64, address: u64) -> Option<KnownFrame> {
        let entry = &self.0[place(mappings, address)];
        (entry.mappings == mappings && entry.address == address && mappings != 0).then_some(entry.known)
    }

    /// Remembers a frame; forgets what was in its place.
    pub fn insert(&mut self, mappings: u64, address: u64, known: KnownFrame) {
        self.0[place(mappings, address)] = Entry { mappings, address, known };
    }

    /// Forgets all: frames of another window have other indices.
    pub fn clear(&mut self) {
        self.0.fill(Entry::default());
    }
}

fn place(mappings: u64, address: u64) -> usize {
    let mixed = (address ^ mappings.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - ENTRIES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_was_inserted_last() {
        let mut known = KnownFrames::default();
        assert_eq!(known.get(0, 0), None);
        let frame = KnownFrame { frame: 7, executable: 3 };
        known.insert(1, 0x1000, frame);
        assert_eq!(known.get(1, 0x1000), Some(frame));
        assert_eq!((known.get(2, 0x1000), known.get(1, 0x1001)), (None, None));
        known.insert(1, 0x1000, KnownFrame { frame: 8, executable: 3 });
        assert_eq!(known.get(1, 0x1000).unwrap().frame, 8);
        known.clear();
        assert_eq!(known.get(1, 0x1000), None);
    }

    #[test]
    fn a_deep_stack_keeps_its_places() {
        let mut known = KnownFrames::default();
        let addresses = || (0..1000_u32).map(|index| (index, 0x5555_5555_0000 + u64::from(index) * 37));
        addresses().for_each(|(frame, address)| known.insert(9, address, KnownFrame { frame, executable: 1 }));
        let kept = addresses().filter(|(index, address)| known.get(9, *address).is_some_and(|at| at.frame == *index));
        assert!(kept.count() > 900);
    }
}
