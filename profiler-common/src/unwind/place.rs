//! Where tables lie in the kernel: chunks of 64 KiB, sixteen to a slab, filled by the agent, addressed by 32 bits.
//!
//! A process is in the map of processes as a [`ProcessEntry`]: it points at a sorted array of [`Branch`]es, each of
//! which points at a sorted array of [`MappingEntry`]s. A mapping points at its file's directory: a `u32` place of a
//! [`page`](super::page) per page of text, 0 where there are no rows.

/// Bytes of a chunk that are addressed.
pub const CHUNK_BYTES: u32 = 1 << 16;
/// Bytes of a chunk's map: a load of 8 bytes at any 16-bit offset stays in it.
pub const CHUNK_MAP_BYTES: usize = CHUNK_BYTES as usize + 8;
/// Chunks of a slab, which is a map: each new one makes the agent wait for tens of milliseconds.
pub const SLAB_CHUNKS: u32 = 16;
/// Alignment of everything in a chunk.
pub const ALIGNMENT: u32 = 8;
/// Mappings of a branch.
pub const BRANCH_MAPPINGS: u32 = 128;
/// Branches of a process.
pub const MAX_BRANCHES: u32 = 1024;
/// Pages of a directory; a file with more gets several, and its mapping is split.
pub const MAX_PAGES: u32 = 8192;

const _: () = assert!(BRANCH_MAPPINGS * MAX_BRANCHES >= 65_536);
const _: () = assert!(MAX_BRANCHES as usize * size_of::<Branch>() <= CHUNK_BYTES as usize);
const _: () = assert!(BRANCH_MAPPINGS as usize * size_of::<MappingEntry>() <= CHUNK_BYTES as usize);
const _: () = assert!(MAX_PAGES * 4 <= CHUNK_BYTES);

/// A chunk's number in the upper 16 bits, an offset in it in the lower. 0 is nowhere.
pub type Place = u32;

/// The chunk of a place.
#[inline(always)]
#[must_use]
pub const fn chunk(place: Place) -> u32 {
    place >> 16
}

/// The slab of a chunk.
#[inline(always)]
#[must_use]
pub const fn slab(chunk: u32) -> u32 {
    chunk / SLAB_CHUNKS
}

/// The index of a chunk in its slab.
#[inline(always)]
#[must_use]
pub const fn index(chunk: u32) -> u32 {
    chunk % SLAB_CHUNKS
}

/// The offset of a place in its chunk.
#[inline(always)]
#[must_use]
pub const fn offset(place: Place) -> u32 {
    place & (CHUNK_BYTES - 1)
}

/// Tells mappings apart. A library that is put where another one was comes with no event that the kernel program sees.
/// One stamp is the number of executable pages (`mm_struct.exec_vm`): it changes with nearly all that matters and
/// seldom else. The other, with [`BY_CHANGES`], is how often any mapping was changed (`mm_struct.mm_lock_seq`, since
/// Linux 6.4): it is exact, but changes whenever memory is allocated as well. 0 is none.
pub type Stamp = u64;

/// Set in a stamp of changes.
pub const BY_CHANGES: Stamp = 1 << 63;
/// Set in each other stamp, so that none is 0.
pub const BY_SIZE: Stamp = 1 << 62;
/// The stamp of no mappings at all.
pub const OUTDATED: Stamp = BY_SIZE | BY_SIZE >> 1;

/// A process whose mappings are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessEntry {
    /// Start time of the process: tells a reused pid apart.
    pub start_ns: u64,
    /// Where its [`Branch`]es lie.
    pub branches: Place,
    /// How many, at least 1.
    pub branch_count: u32,
    /// Of the mappings that were told; 0 to go by them in any case.
    pub stamp: Stamp,
}

/// Up to [`BRANCH_MAPPINGS`] mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "host", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct Branch {
    /// Start of the first.
    pub start: u64,
    /// Where its [`MappingEntry`]s lie.
    pub mappings: Place,
    /// How many, at least 1.
    pub count: u32,
}

/// A range of addresses with code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "host", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct MappingEntry {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// What to subtract from an address to get its distance from the first page of the directory.
    pub bias: u64,
    /// The file's directory.
    pub directory: Place,
    /// Pages in it.
    pub pages: u16,
    /// Text of a page, as a power of two.
    pub page_bits: u8,
    /// One of [`kind`].
    pub kind: u8,
}

/// Kinds of mappings.
pub mod kind {
    /// Its rows are not here yet: the stack goes up to the agent.
    pub const UNKNOWN: u8 = 0;
    /// It has rows.
    pub const ROWS: u8 = 1;
    /// It has none, and never will.
    pub const NO_ROWS: u8 = 2;
}

const _: () = assert!(size_of::<ProcessEntry>() == 24);
const _: () = assert!(size_of::<Branch>() == 16);
const _: () = assert!(size_of::<MappingEntry>() == 32);
