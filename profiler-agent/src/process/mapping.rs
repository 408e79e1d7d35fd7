//! Executable mappings of a process, sorted by address.

use super::executable::{Executable, FileKey};
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

/// Sorted, not overlapping.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mappings(pub(crate) Vec<Mapping>);

/// The same places of the same files.
impl PartialEq for Mappings {
    fn eq(&self, other: &Self) -> bool {
        let place = |mapping: &Mapping| (mapping.start, mapping.end, mapping.file_offset, mapping.key);
        self.0.iter().map(place).eq(other.0.iter().map(place))
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
        if mapping.start >= mapping.end {
            return false;
        }
        let first = self.0.partition_point(|other| other.end <= mapping.start);
        let last = self.0.partition_point(|other| other.start < mapping.end);
        let replaces = self.0.get(first..last).is_some_and(|below| below.iter().any(|other| other.key != mapping.key));
        let mut replacement = Vec::with_capacity(3);
        if let Some(left) = self.0.get(first).filter(|other| first < last && other.start < mapping.start) {
            replacement.push(Mapping { end: mapping.start, ..left.clone() });
        }
        let right = last.checked_sub(1).and_then(|index| self.0.get(index));
        let right = right.filter(|other| first < last && other.end > mapping.end).map(|other| {
            let cut = mapping.end - other.start;
            Mapping { start: mapping.end, file_offset: other.file_offset.wrapping_add(cut), ..other.clone() }
        });
        replacement.push(mapping);
        replacement.extend(right);
        if self.0.len() + replacement.len() <= MAX_MAPPINGS + (last - first) {
            self.0.splice(first..last, replacement);
        }
        replaces
    }

    /// The mapping that holds an address.
    pub(super) fn find_mut(&mut self, address: u64) -> Option<&mut Mapping> {
        let index = self.0.partition_point(|mapping| mapping.end <= address);
        self.0.get_mut(index).filter(|mapping| mapping.start <= address)
    }

    /// The first mapping of a file: of a process just exec'd that is its executable.
    #[must_use]
    pub(super) fn first_file(&self) -> Option<&Mapping> {
        self.0.iter().find(|mapping| mapping.key.inode != 0)
    }

    /// The mapping of a path or name.
    #[must_use]
    pub(super) fn find_path(&self, path: &str) -> Option<&Mapping> {
        self.0.iter().find(|mapping| &*mapping.path == path)
    }

    /// All, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.0.iter()
    }

    /// All, by address.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Mapping> {
        self.0.iter_mut()
    }

    /// Whether there is none.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what is known of the files from an earlier list of the same process.
    pub(super) fn keep_executables(&mut self, earlier: &Self) {
        for mapping in &mut self.0 {
            let index = earlier.0.partition_point(|other| other.end <= mapping.start);
            if let Some(other) = earlier.0.get(index)
                && other.key == mapping.key
                && other.start == mapping.start
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
        mappings.0.iter().map(|m| (m.start, m.end, m.key.inode, m.file_offset)).collect()
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
}
