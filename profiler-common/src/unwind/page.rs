//! The rows of one page of text, packed: two bytes a row where they are dense, three where they are not.
//!
//! Layout, offsets from the page's start, numbers in host byte order:
//!
//! | at | what |
//! |---|---|
//! | 0 | `u16` rows, at least 1 |
//! | 2 | `u8` format: [`SPARSE`], or [`DENSE`], with [`WIDE_INDEX`] |
//! | 3 | zero |
//! | 4 | `u32` where the rules begin, a multiple of 4 |
//! | 8 | sparse: `u16` keys, one a row. Dense: `u16` index of the first row of each block of 256 bytes of text and, at its end, the number of rows; then `u8` keys |
//! | | index of each row's rule, `u8` or with [`WIDE_INDEX`] `u16` (at an even place) |
//! | rules | packed rules, see [`Rule::pack`]; after them the 16 bytes of each that does not fit |
//!
//! A key is where the row begins: from the page's start, or from the block's. The first row begins at 0, so that each
//! address of the page has a row.

use super::rule::{self, Rule};

/// Keys are `u16`.
pub const SPARSE: u8 = 0;
/// Keys are `u8`, found through an index of blocks.
pub const DENSE: u8 = 1;
/// Indices of rules are `u16`.
pub const WIDE_INDEX: u8 = 2;
/// Bytes before the keys.
pub const HEADER_BYTES: u32 = 8;
/// Text of a block, as a power of two.
pub const BLOCK_BITS: u32 = 8;
/// Text of a page at most, as a power of two.
pub const MAX_PAGE_BITS: u32 = 16;
/// Text of a page at least, as a power of two.
pub const MIN_PAGE_BITS: u32 = 9;
/// A sparse page has fewer rows than this: else the dense form is smaller.
pub const MAX_SPARSE_ROWS: u32 = 511;
/// Halvings that find a key among those of a block and the row before, or of a sparse page.
const HALVINGS: u32 = 9;

/// Bytes that tables lie in. Beyond the end any value may come back.
pub trait Bytes: Copy {
    /// The byte at an offset.
    fn u8(self, at: u32) -> u8;
    /// Two bytes at an offset, which may be odd.
    fn u16(self, at: u32) -> u16;
    /// Four bytes at an offset.
    fn u32(self, at: u32) -> u32;
}

/// The rule for an address of a page: `low` is its distance from the page's start, `page` where the page lies.
#[inline(always)]
pub fn lookup(bytes: impl Bytes, page: u32, low: u32, page_bits: u32) -> Rule {
    let rows = u32::from(bytes.u16(page));
    let format = bytes.u8(page + 2);
    let rules = page.wrapping_add(bytes.u32(page + 4));
    let body = page + HEADER_BYTES;
    let (row, indices) = if format & DENSE != 0 {
        let at = body + ((low >> BLOCK_BITS) << 1);
        let (first, end) = (u32::from(bytes.u16(at)), u32::from(bytes.u16(at + 2)));
        let keys = body + (2 << (page_bits - BLOCK_BITS)) + 2;
        let key = low & ((1 << BLOCK_BITS) - 1);
        // The row before the block's first may go on into it.
        let before = first.wrapping_sub(1);
        let row = last_at_most(before, end.wrapping_sub(before), key, |row| bytes.u8(keys.wrapping_add(row)).into());
        (row, keys + rows)
    } else {
        let row = last_at_most(0, rows, low, |row| bytes.u16(body.wrapping_add(row << 1)).into());
        (row, body + (rows << 1))
    };
    let index = if format & WIDE_INDEX != 0 {
        u32::from(bytes.u16(((indices + 1) & !1).wrapping_add(row << 1)))
    } else {
        u32::from(bytes.u8(indices.wrapping_add(row)))
    };
    let packed = bytes.u32(rules.wrapping_add(index << 2));
    if packed & 15 == u32::from(rule::cfa::WIDE) {
        return wide(bytes, page.wrapping_add(packed >> 4 << 2));
    }
    Rule::unpack(packed)
}

/// The last of `count` rows from `first` whose key is at most `key`; the first one's is, and is not looked at.
///
/// No branch depends on what is read, and every round does the same: the verifier then sees one path. A round with
/// nothing left to halve compares the row with itself.
#[inline(always)]
fn last_at_most(first: u32, count: u32, key: u32, key_of: impl Fn(u32) -> u32) -> u32 {
    let (mut first, mut left) = (first, count);
    for _ in 0..HALVINGS {
        let half = left >> 1;
        let middle = first.wrapping_add(half);
        // All ones where the key is greater.
        let beyond = (key.wrapping_sub(key_of(middle)) as i32 >> 31) as u32;
        first = first.wrapping_add(half & !beyond);
        left -= half;
    }
    first
}

#[inline(always)]
fn wide(bytes: impl Bytes, at: u32) -> Rule {
    let kinds = bytes.u32(at);
    let field = |index: u32| (kinds >> (8 * index)) as u8;
    // The fields in memory order; both architectures are little-endian.
    Rule {
        cfa: field(0),
        register: field(1),
        fp: field(2),
        ra: field(3),
        cfa_offset: bytes.u32(at.wrapping_add(4)) as i32,
        fp_offset: bytes.u32(at.wrapping_add(8)) as i32,
        extra: bytes.u32(at.wrapping_add(12)) as i32,
    }
}
