//! Executable mappings of a process.

use super::executable::{Executable, FileKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Mappings kept of a process: the kernel's own default limit, `vm.max_map_count`.
pub(super) const MAX_MAPPINGS: usize = 65_536;

/// A range of addresses with code.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Offset of the first address in the file.
    pub file_offset: u64,
    /// Which file; inode 0 is none.
    pub key: FileKey,
    /// Path as the process sees it, or a name in brackets.
    pub path: Arc<str>,
    /// Unix seconds before which the file was mapped for sure, when known.
    pub mapped_after_s: Option<i64>,
    /// The file, once a frame needed it.
    pub executable: Option<Arc<Executable>>,
}

/// Those of a process by their first address, not overlapping: a process maps tens of thousands, one below the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mappings(BTreeMap<u64, Mapping>);

/// The same places of the same files.
impl PartialEq for Mappings {
    fn eq(&self, other: &Self) -> bool {
        let place = |mapping: &Mapping| (mapping.start, mapping.end, mapping.file_offset, mapping.key);
        self.iter().map(place).eq(other.iter().map(place))
    }
}

impl Mappings {
    /// From any order; of overlapping ones the later in the list wins.
    #[must_use]
    pub(super) fn new(mappings: impl IntoIterator<Item = Mapping>) -> Self {
        let mut all = Self::default();
        for mapping in mappings {
            all.insert(mapping);
        }
        all
    }

    /// Maps over whatever was there; whether that was another file.
    pub(super) fn insert(&mut self, mapping: Mapping) -> bool {
        let (start, end) = (mapping.start, mapping.end);
        if start >= end {
            return false;
        }
        let mut replaces = false;
        while let Some(below) = self.last_before(end).filter(|below| below.end > start) {
            replaces |= below.key != mapping.key;
            let below = below.clone();
            if below.end > end {
                let file_offset = below.file_offset.wrapping_add(end - below.start);
                self.keep(Mapping { start: end, file_offset, ..below.clone() });
            }
            self.0.remove(&below.start);
            if below.start < start {
                self.keep(Mapping { end: start, ..below });
            }
        }
        self.keep(mapping);
        replaces
    }

    fn last_before(&self, address: u64) -> Option<&Mapping> {
        self.0.range(..address).next_back().map(|(_, mapping)| mapping)
    }

    fn keep(&mut self, mapping: Mapping) {
        if self.0.len() < MAX_MAPPINGS {
            self.0.insert(mapping.start, mapping);
        }
    }

    /// The mapping that holds an address.
    pub(super) fn find(&self, address: u64) -> Option<&Mapping> {
        let (_, mapping) = self.0.range(..=address).next_back()?;
        Some(mapping).filter(|mapping| address < mapping.end)
    }

    /// The same, for remembering its file.
    pub(super) fn find_mut(&mut self, address: u64) -> Option<&mut Mapping> {
        let (_, mapping) = self.0.range_mut(..=address).next_back()?;
        Some(mapping).filter(|mapping| address < mapping.end)
    }

    /// The first mapping of a file: of a process just exec'd that is its executable.
    #[must_use]
    pub(super) fn first_file(&self) -> Option<&Mapping> {
        self.iter().find(|mapping| mapping.key.inode != 0)
    }

    /// The mapping of a path or name.
    #[must_use]
    pub(super) fn find_path(&self, path: &str) -> Option<&Mapping> {
        self.iter().find(|mapping| &*mapping.path == path)
    }

    /// All, by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.0.values()
    }

    /// All, by address.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Mapping> {
        self.0.values_mut()
    }

    /// Whether there is none.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what is known of the files from an earlier list of the same process.
    pub(super) fn keep_executables(&mut self, earlier: &Self) {
        for mapping in self.iter_mut() {
            if let Some(other) = earlier.0.get(&mapping.start)
                && other.key == mapping.key
            {
                mapping.executable.clone_from(&other.executable);
                mapping.mapped_after_s = other.mapped_after_s;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, inode: u64) -> Mapping {
        let key = FileKey { device: 1, inode };
        let path = Arc::from("/a");
        Mapping { start, end, file_offset: start, key, path, mapped_after_s: None, executable: None }
    }

    fn ranges(mappings: &Mappings) -> Vec<(u64, u64, u64, u64)> {
        mappings.iter().map(|m| (m.start, m.end, m.key.inode, m.file_offset)).collect()
    }

    #[test]
    fn a_new_mapping_cuts_the_ones_below() {
        let mut mappings = Mappings::new([mapping(0x1000, 0x5000, 1), mapping(0x6000, 0x7000, 2)]);
        assert!(mappings.insert(mapping(0x2000, 0x3000, 3)));
        assert_eq!(
            ranges(&mappings),
            [
                (0x1000, 0x2000, 1, 0x1000),
                (0x2000, 0x3000, 3, 0x2000),
                (0x3000, 0x5000, 1, 0x3000),
                (0x6000, 0x7000, 2, 0x6000)
            ]
        );
        assert!(mappings.insert(mapping(0x1800, 0x6800, 4)));
        assert_eq!(
            ranges(&mappings),
            [(0x1000, 0x1800, 1, 0x1000), (0x1800, 0x6800, 4, 0x1800), (0x6800, 0x7000, 2, 0x6800)]
        );
        assert!(!mappings.insert(mapping(0x1800, 0x6800, 4)) && !mappings.insert(mapping(0x8000, 0x9000, 5)));
        assert_eq!(mappings.find_mut(0x17ff).unwrap().key.inode, 1);
        assert_eq!(mappings.find_mut(0x1800).unwrap().key.inode, 4);
        assert!(mappings.find_mut(0x7000).is_none());
        assert!(mappings.find_mut(0).is_none());
    }

    #[test]
    fn one_in_the_middle_leaves_both_ends() {
        let mut mappings = Mappings::new([mapping(0x1000, 0x4000, 1), mapping(0x5000, 0x6000, 1)]);
        assert!(!mappings.insert(mapping(0x2000, 0x3000, 1)));
        assert_eq!(ranges(&mappings).len(), 4);
        assert!(mappings.insert(mapping(0x1000, 0x6000, 2)));
        assert_eq!(ranges(&mappings), [(0x1000, 0x6000, 2, 0x1000)]);
    }
}
