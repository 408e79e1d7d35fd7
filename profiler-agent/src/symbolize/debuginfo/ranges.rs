//! Ranges of addresses, each with a value, and which of them hold an address.

/// Ranges that hold one address and are looked at: nested ones, or those of a file that lies.
const MAX_HITS: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Range {
    begin: u64,
    end: u64,
    /// Largest end of this range and all before it.
    reach: u64,
    value: u64,
}

/// Sorted ranges, which may overlap.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    /// Adds a range; [`Ranges::sort`] makes it count. What follows on the last one with the same value extends it.
    pub(super) fn push(&mut self, begin: u64, end: u64, value: u64) {
        match self.0.last_mut() {
            Some(last) if last.value == value && last.end == begin => last.end = end,
            _ => self.0.push(Range { begin, end, reach: 0, value }),
        }
    }

    /// Makes everything added findable.
    pub(super) fn sort(&mut self) {
        self.0.sort_by_key(|range| (range.begin, std::cmp::Reverse(range.end)));
        let mut reach = 0;
        for range in &mut self.0 {
            reach = range.end.max(reach);
            range.reach = reach;
        }
        self.0.shrink_to_fit();
    }

    /// Values of the ranges that hold an address, the one that begins last first.
    pub(super) fn find(&self, address: u64) -> impl Iterator<Item = u64> {
        let after = self.0.partition_point(|range| range.begin <= address);
        let before = self.0[..after].iter().rev().take_while(move |range| range.reach > address);
        before.filter(move |range| range.end > address).map(|range| range.value).take(MAX_HITS)
    }

    /// Number of ranges.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.0.capacity() * size_of::<Range>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_of_nested_ranges_comes_first() {
        let mut ranges = Ranges::default();
        for (begin, end, value) in [(10, 100, 1), (20, 30, 2), (30, 40, 2), (50, 60, 3), (200, 300, 4)] {
            ranges.push(begin, end, value);
        }
        assert_eq!(ranges.len(), 4);
        ranges.sort();
        let find = |address| ranges.find(address).collect::<Vec<_>>();
        assert!(find(9).is_empty() && find(100).is_empty());
        assert_eq!(find(10), [1]);
        assert_eq!(find(35), [2, 1]);
        assert_eq!(find(40), [1]);
        assert_eq!(find(55), [3, 1]);
        assert_eq!(find(299), [4]);
    }
}
