//! The rows of one file, packed into pages as the kernel program reads them.

use profiler_common::unwind::page::{self, Bytes};
use profiler_common::unwind::place::{ALIGNMENT, CHUNK_BYTES};
use profiler_common::unwind::rule::{self, Rule};
use std::collections::HashMap;
use zerocopy::IntoBytes as _;

/// Text of a page as a power of two: the first that every page of a file fits into a chunk with.
const PAGE_BITS: [u32; 3] = [page::MAX_PAGE_BITS, 13, page::MIN_PAGE_BITS];
/// Pages of a file at most: 64 GiB of text, 512 MiB of the densest. Rows beyond are left out.
const MAX_PAGES: u64 = 1 << 20;
/// Bytes of a page at most: place 0 of the first chunk stays free.
const MAX_PAGE_BYTES: usize = (CHUNK_BYTES - ALIGNMENT) as usize;

/// Unwind rows of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UnwindTable {
    /// Address of the first page, a multiple of the page size.
    base: u64,
    page_bits: u32,
    /// Where each page ends in `data`; an empty one has no rows.
    ends: Vec<u32>,
    data: Vec<u8>,
    rows: u64,
}

impl UnwindTable {
    /// Packs what `feed` pushes. It is called again, with smaller pages, when a page has more rows than a chunk holds.
    pub fn build<E>(feed: impl Fn(&mut Encoder) -> Result<(), E>) -> Result<Self, E> {
        let mut table = Self::default();
        for page_bits in PAGE_BITS {
            let mut encoder = Encoder::new(page_bits);
            feed(&mut encoder)?;
            let (packed, fits) = encoder.finish();
            table = packed;
            if fits {
                break;
            }
        }
        Ok(table)
    }

    /// The rule for an address as the file's symbols use it: [`Rule::NONE`] where there are no rows.
    #[must_use]
    pub fn rule(&self, address: u64) -> Rule {
        let distance = address.wrapping_sub(self.base);
        let low = (distance & ((1 << self.page_bits) - 1)) as u32;
        match usize::try_from(distance >> self.page_bits).ok().and_then(|number| self.page(number)) {
            Some(page) => page::lookup(Slice(page), 0, low, self.page_bits),
            None => Rule::NONE,
        }
    }

    /// The packed rows of a page; none when it has none.
    #[must_use]
    pub fn page(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.data[start..end]).filter(|page| !page.is_empty())
    }

    /// Address of the first page.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Text of a page, as a power of two.
    #[must_use]
    pub fn page_bits(&self) -> u32 {
        self.page_bits
    }

    /// Pages, with or without rows.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.ends.len()
    }

    /// Rows, neighbours with equal rules counted once.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Feeds all that it holds to a hash: equal tables share their memory, whatever files they are of.
    #[must_use]
    pub fn hash_into<H: sha2::Digest>(&self, hash: H) -> H {
        let head = [self.base, u64::from(self.page_bits), self.ends.len() as u64];
        hash.chain_update(head.as_bytes()).chain_update(self.ends.as_bytes()).chain_update(&self.data)
    }

    /// Bytes of packed pages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Slice<'a>(pub(crate) &'a [u8]);

impl Slice<'_> {
    fn read<const N: usize>(self, at: u32) -> [u8; N] {
        self.0.get(at as usize..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
}

impl Bytes for Slice<'_> {
    fn u8(self, at: u32) -> u8 {
        self.read::<1>(at)[0]
    }

    fn u16(self, at: u32) -> u16 {
        u16::from_ne_bytes(self.read(at))
    }

    fn u32(self, at: u32) -> u32 {
        u32::from_ne_bytes(self.read(at))
    }
}

/// Takes rows in order of address and packs them page by page.
#[derive(Debug)]
pub struct Encoder {
    table: UnwindTable,
    /// Rows of the page at hand, by their distance from its start.
    page: Vec<(u32, Rule)>,
    /// Rule at the end of what was pushed.
    last: Rule,
    /// Address of the last row.
    address: u64,
    fits: bool,
}

impl Encoder {
    fn new(page_bits: u32) -> Self {
        let table = UnwindTable { page_bits, ..UnwindTable::default() };
        Self { table, page: Vec::new(), last: Rule::NONE, address: 0, fits: true }
    }

    /// From this address on, the rule holds. Addresses ascend; one that does not is left out, an equal one replaces
    /// the row before.
    pub fn push(&mut self, address: u64, rule: Rule) {
        if address < self.address || !self.fits {
            return;
        }
        let page_bytes = 1 << self.table.page_bits;
        if self.table.ends.is_empty() && self.page.is_empty() {
            if rule == Rule::NONE {
                return;
            }
            self.table.base = address & !(page_bytes - 1);
        }
        let number = (address - self.table.base) >> self.table.page_bits;
        if number >= MAX_PAGES {
            return;
        }
        self.close_pages_before(number as usize);
        let low = (address & (page_bytes - 1)) as u32;
        if address == self.address && self.page.last().is_some_and(|(last, _)| *last == low) {
            self.page.pop();
            self.last = self.page.last().map_or(self.last, |(_, rule)| *rule);
        }
        if rule != self.last || self.page.is_empty() {
            self.page.push((low, rule));
        }
        self.last = rule;
        self.address = address;
    }

    /// Packs pages until the one at hand has this number.
    fn close_pages_before(&mut self, number: usize) {
        while self.table.ends.len() < number {
            self.close_page();
            // The rule goes on into the next page.
            if self.last != Rule::NONE {
                self.page.push((0, self.last));
            }
        }
    }

    fn close_page(&mut self) {
        let rows = std::mem::take(&mut self.page);
        if rows.iter().any(|(_, rule)| *rule != Rule::NONE) {
            self.table.rows += rows.len() as u64;
            self.fits &= pack(&rows, self.table.page_bits, &mut self.table.data).is_some();
        }
        self.table.ends.push(self.table.data.len() as u32);
    }

    /// The table, and whether every page fits into a chunk; those that do not are left out.
    fn finish(mut self) -> (UnwindTable, bool) {
        if !self.page.is_empty() {
            self.close_page();
        }
        (self.table, self.fits)
    }
}

/// Different rules of a page.
#[derive(Default)]
struct Rules {
    list: Vec<Rule>,
    known: HashMap<Rule, u16>,
    /// Index of the rule met last by a few of its bits: most rows repeat one of a handful.
    recent: [u16; 32],
}

impl Rules {
    /// Index of a rule; none when there are too many.
    fn index(&mut self, rule: Rule) -> Option<u16> {
        let slot = (rule.cfa_offset >> 3 ^ rule.fp_offset >> 1 ^ i32::from(rule.cfa) << 4) as usize % 32;
        if self.list.get(usize::from(self.recent[slot])) == Some(&rule) {
            return Some(self.recent[slot]);
        }
        let next = u16::try_from(self.list.len()).ok()?;
        let index = *self.known.entry(rule).or_insert(next);
        if index == next {
            self.list.push(rule);
        }
        self.recent[slot] = index;
        Some(index)
    }
}

/// Appends a page; none when it is too large.
fn pack(rows: &[(u32, Rule)], page_bits: u32, data: &mut Vec<u8>) -> Option<()> {
    let first = match rows.first() {
        Some((0, _)) => None,
        _ => Some((0, Rule::NONE)),
    };
    let count = rows.len() + usize::from(first.is_some());
    let rows = || first.iter().chain(rows).copied();
    let mut rules = Rules::default();
    let mut indices: Vec<u16> = Vec::with_capacity(count);
    for (_, rule) in rows() {
        indices.push(rules.index(rule)?);
    }
    let rules = rules.list;
    let wide = rules.len() > 256;
    let blocks = 1_usize << (page_bits - page::BLOCK_BITS);
    let sparse = count <= page::MAX_SPARSE_ROWS as usize && count < 2 * blocks + 2;
    let mut page = Vec::with_capacity(4 * count + 1024);
    page.extend(u16::try_from(count).ok()?.to_ne_bytes());
    page.extend([if sparse { page::SPARSE } else { page::DENSE } | if wide { page::WIDE_INDEX } else { 0 }, 0]);
    page.extend([0; 4]);
    if sparse {
        rows().for_each(|(low, _)| page.extend((low as u16).to_ne_bytes()));
    } else {
        let mut starts = vec![0_u16; blocks + 1];
        rows().for_each(|(low, _)| starts[(low >> page::BLOCK_BITS) as usize + 1] += 1);
        for block in 1..starts.len() {
            starts[block] += starts[block - 1];
        }
        starts.iter().for_each(|start| page.extend(start.to_ne_bytes()));
        page.extend(rows().map(|(low, _)| low as u8));
    }
    if wide {
        page.resize(page.len().next_multiple_of(2), 0);
        indices.iter().for_each(|index| page.extend(index.to_ne_bytes()));
    } else {
        page.extend(indices.iter().map(|&index| index as u8));
    }
    page.resize(page.len().next_multiple_of(4), 0);
    let rules_at = page.len();
    page[4..8].copy_from_slice(&(rules_at as u32).to_ne_bytes());
    let mut wide_rules = Vec::new();
    for rule in &rules {
        let packed = rule.pack().unwrap_or_else(|| {
            let at = rules_at + 4 * rules.len() + wide_rules.len();
            wide_rules.extend_from_slice(rule.as_bytes());
            u32::from(rule::cfa::WIDE) | (at as u32 / 4) << 4
        });
        page.extend(packed.to_ne_bytes());
    }
    page.extend(wide_rules);
    page.resize(page.len().next_multiple_of(ALIGNMENT as usize), 0);
    if page.len() > MAX_PAGE_BYTES {
        return None;
    }
    data.extend(page);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::unwind::rule::{cfa, fp};
    use std::convert::Infallible;

    fn table(rows: &[(u64, Rule)]) -> UnwindTable {
        let feed = |encoder: &mut Encoder| {
            rows.iter().for_each(|(address, rule)| encoder.push(*address, *rule));
            Ok::<(), Infallible>(())
        };
        UnwindTable::build(feed).unwrap()
    }

    fn rule(offset: i32) -> Rule {
        Rule { cfa: cfa::SP, cfa_offset: offset, ..Rule::NONE }
    }

    /// Every row holds from its address to the next one's, and nothing holds before the first.
    fn assert_all(rows: &[(u64, Rule)], table: &UnwindTable) {
        assert_eq!(table.rule(rows[0].0 - 1), Rule::NONE);
        for pair in rows.windows(2) {
            let ((start, rule), (end, _)) = (pair[0], pair[1]);
            for address in [start, start + (end - start) / 2, end - 1] {
                assert_eq!(table.rule(address), rule, "{address:#x} in {start:#x}..{end:#x}");
            }
        }
    }

    #[test]
    fn finds_rows_in_dense_and_sparse_pages() {
        let dense = (0..20_000_u64).map(|row| (0x40_1234 + row * 37, rule(8 + 8 * (row % 90) as i32)));
        let sparse = (0..300_u64).map(|row| (0x80_0001 + row * 5000, rule(16 + 8 * (row % 3) as i32)));
        let mut rows: Vec<(u64, Rule)> = dense.chain(sparse).collect();
        rows.push((rows.last().unwrap().0 + 77, Rule::NONE));
        let table = table(&rows);
        assert_all(&rows, &table);
        assert_eq!(table.rule(u64::MAX), Rule::NONE);
        assert_eq!(table.rule(0), Rule::NONE);
        assert_eq!(table.page_bits(), 16);
    }

    #[test]
    fn a_hundred_thousand_different_rules_are_all_found() {
        let mut rows: Vec<(u64, Rule)> =
            (0..100_000_u64).map(|row| (0x1000 + row * 3, rule(8 + 8 * row as i32))).collect();
        rows.push((rows.last().unwrap().0 + 3, Rule::NONE));
        let table = table(&rows);
        assert_all(&rows, &table);
        assert!(table.page_bits() < 16);
    }

    #[test]
    fn a_row_for_every_byte_is_found() {
        let mut rows: Vec<(u64, Rule)> =
            (0..200_000_u64).map(|row| (0x1000 + row, rule(8 + 8 * (row % 5000) as i32))).collect();
        rows.push((rows.last().unwrap().0 + 1, Rule::NONE));
        assert_all(&rows, &table(&rows));
    }

    #[test]
    fn rare_rules_stand_beside_common_ones() {
        let rare = Rule { cfa: cfa::FP_DEREF, cfa_offset: -8, fp: fp::AT_FP, fp_offset: 0, extra: 8, ..Rule::NONE };
        let rows = [(0x1000, rule(8)), (0x1004, rare), (0x1010, rule(8)), (0x1020, Rule::NONE)];
        assert_all(&rows, &table(&rows));
    }

    #[test]
    fn a_rule_goes_on_across_pages() {
        let rows = [(0x1_0010, rule(8)), (0x5_0000, Rule::END), (0x5_0010, Rule::NONE)];
        let table = table(&rows);
        assert_all(&rows, &table);
        assert_eq!(table.rule(0x3_1234), rule(8));
    }

    #[test]
    fn a_later_row_replaces_one_at_the_same_address() {
        let rows = [(0x1000, rule(8)), (0x1004, rule(16)), (0x1004, rule(24)), (0x1010, Rule::NONE)];
        assert_eq!(table(&rows).rule(0x1004), rule(24));
        let back = [(0x1000, rule(8)), (0x1004, rule(16)), (0x1004, rule(8)), (0x1010, Rule::NONE)];
        assert_eq!(table(&back).rule(0x1004), rule(8));
    }

    #[test]
    fn wild_addresses_cost_nothing() {
        let rows = [(0x1000, rule(8)), (0x1010, Rule::NONE), (1 << 60, rule(16)), (u64::MAX, Rule::NONE)];
        let table = table(&rows);
        assert_eq!(table.rule(0x1008), rule(8));
        assert!(table.page_count() < 2);
    }
}
