//! Which piece of code an address is in, where code is written over other code.

use std::collections::BinaryHeap;

/// Spans of one process at most; the largest Java programs have some 100,000.
pub(super) const MAX_SPANS: usize = 1 << 20;

/// A span on its way into the table; a later rank covers an earlier one.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    rank: u32,
    value: u32,
}

/// Disjoint spans of addresses sorted by address, each with a value: 16 bytes a span.
///
/// Newer spans cover older ones; what sticks out of an old one stays. New spans are collected first and settle
/// together: n of them cost one sort of n and one pass over the table.
#[derive(Default)]
pub(super) struct CodeSpans {
    starts: Vec<u64>,
    sizes: Vec<u32>,
    values: Vec<u32>,
    /// In the order of their coming.
    fresh: Vec<Span>,
}

impl CodeSpans {
    /// Adds code of some bytes; false when there is no room. Not found before [`CodeSpans::settle`].
    pub(super) fn push(&mut self, start: u64, size: u64, value: u32) -> bool {
        if self.len() >= MAX_SPANS {
            return false;
        }
        let end = start.saturating_add(size.min(u64::from(u32::MAX)));
        if start < end {
            self.fresh.push(Span { start, end, rank: self.fresh.len() as u32 + 1, value });
        }
        true
    }

    /// The value of the newest span that holds an address.
    pub(super) fn find(&self, address: u64) -> Option<u32> {
        let index = self.starts.partition_point(|&start| start <= address).checked_sub(1)?;
        (address - self.starts[index] < u64::from(self.sizes[index])).then(|| self.values[index])
    }

    /// Spans, those to settle included.
    pub(super) fn len(&self) -> usize {
        self.starts.len() + self.fresh.len()
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u64>()
            + (self.sizes.capacity() + self.values.capacity()) * size_of::<u32>()
            + self.fresh.capacity() * size_of::<Span>()
    }

    /// The values in use, for the owner to move them.
    pub(super) fn values_mut(&mut self) -> &mut [u32] {
        &mut self.values
    }

    /// Puts what was pushed into its place.
    pub(super) fn settle(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let mut spans = std::mem::take(&mut self.fresh);
        let settled = self.starts.iter().zip(&self.sizes).zip(&self.values);
        spans.extend(settled.map(|((&start, &size), &value)| Span {
            start,
            end: start.saturating_add(u64::from(size)),
            rank: 0,
            value,
        }));
        spans.sort_unstable_by_key(|span| span.start);
        for list in [&mut self.sizes, &mut self.values] {
            list.clear();
        }
        self.starts.clear();
        self.sweep(&spans);
        self.starts.shrink_to_fit();
        self.sizes.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Goes through the addresses from low to high. `open` holds the spans that may still show, the newest on top.
    fn sweep(&mut self, spans: &[Span]) {
        let mut open: BinaryHeap<(u32, u64, u32)> = BinaryHeap::new();
        let mut coming = spans.iter().peekable();
        let mut at = 0;
        loop {
            while let Some(span) = coming.next_if(|span| span.start <= at) {
                open.push((span.rank, span.end, span.value));
            }
            let Some(&(_, end, value)) = open.peek() else {
                match coming.peek() {
                    Some(span) => at = span.start,
                    None => return,
                }
                continue;
            };
            if end <= at {
                open.pop();
                continue;
            }
            let until = coming.peek().map_or(end, |next| next.start.min(end));
            self.show(at, until, value);
            at = until;
        }
    }

    fn show(&mut self, start: u64, end: u64, value: u32) {
        let size = (end - start) as u32;
        // A span that goes on behind the start of one it covers is still one.
        if let (Some(&last), Some(last_size), Some(&last_value)) =
            (self.starts.last(), self.sizes.last_mut(), self.values.last())
            && last_value == value
            && last + u64::from(*last_size) == start
            && let Some(joined) = last_size.checked_add(size)
        {
            *last_size = joined;
            return;
        }
        self.starts.push(start);
        self.sizes.push(size);
        self.values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(all: &[(u64, u64, u32)]) -> CodeSpans {
        let mut spans = CodeSpans::default();
        for &(start, size, value) in all {
            assert!(spans.push(start, size, value));
        }
        spans.settle();
        spans
    }

    fn shown(spans: &CodeSpans) -> Vec<(u64, u32, u32)> {
        spans.starts.iter().zip(&spans.sizes).zip(&spans.values).map(|((&a, &b), &c)| (a, b, c)).collect()
    }

    #[test]
    fn the_newest_covers_the_others() {
        let mut spans = spans(&[(0x300, 0x100, 3), (0x100, 0x80, 1), (0x140, 0x200, 2)]);
        assert_eq!(shown(&spans), [(0x100, 0x40, 1), (0x140, 0x200, 2), (0x340, 0xc0, 3)]);
        assert!(spans.push(0x180, 0x10, 4) && spans.push(0x340, 0x1000, 5));
        spans.settle();
        let expected = [(0x100, 0x40, 1), (0x140, 0x40, 2), (0x180, 0x10, 4), (0x190, 0x1b0, 2), (0x340, 0x1000, 5)];
        assert_eq!(shown(&spans), expected);
        let found = [0xff, 0x100, 0x13f, 0x140, 0x18f, 0x190, 0x133f, 0x1340].map(|address| spans.find(address));
        assert_eq!(found, [None, Some(1), Some(1), Some(2), Some(4), Some(2), Some(5), None]);
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_trouble() {
        let spans = spans(&[(0, 0x10, 1), (u64::MAX - 1, u64::MAX, 2), (5, 0, 3), (u64::MAX, 1, 4)]);
        assert_eq!((spans.find(0), spans.find(0xf), spans.find(0x10)), (Some(1), Some(1), None));
        assert_eq!((spans.find(u64::MAX - 1), spans.find(u64::MAX)), (Some(2), None));
    }

    /// Each covers all before it, and each a part of all before it.
    #[test]
    fn many_that_overlap_cost_no_more_than_a_sort() {
        let mut all: Vec<(u64, u64, u32)> = (0..200_000).map(|i| (200_000 - i, 2 * i + 1, i as u32)).collect();
        assert_eq!(shown(&spans(&all)), [(1, 399_999, 199_999)]);
        all.reverse();
        assert_eq!(shown(&spans(&all)).len(), 399_999);
    }

    #[test]
    fn is_bounded() {
        let mut spans = CodeSpans::default();
        let taken = (0..).take_while(|&index| spans.push(index * 16, 16, index as u32)).count();
        assert_eq!(taken, 1 << 20);
        spans.settle();
        assert_eq!((spans.len(), spans.bytes()), (1 << 20, 16 << 20));
    }
}
