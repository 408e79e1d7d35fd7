//! The storage of the durable spool: windows that no endpoint has taken yet, on disk.
//!
//! Input: encoded export requests ("parts"), one window of them at a time, and the ledger's counts. Output: the same parts,
//! byte for byte, after whatever happened to the agent or to its host. Synchronous, for one thread; the ledger is its
//! caller's.
//!
//! # Invariants
//!
//! 1. What [`Store::append`] returned `Ok` for is durable: data, name and folder are synced before. Nothing of a failed
//!    append is found later, unless the disk fails at each try to remove it until the agent ends.
//! 2. A window file is immutable. It appears under its name whole, by a rename, and goes whole. Window numbers are never
//!    used again.
//! 3. A part that comes back is verified by its checksum and comes back once. One that is damaged is lost and counted; its
//!    neighbours are read.
//! 4. A window file goes only after a state that says that all of its parts ended is synced, and its entries leave the
//!    state only after its removal is synced: no part is sent again because of a power cut, save those in flight.
//! 5. The state that was synced last and the state that was saved last are never written over: a torn write costs the
//!    state that it wrote, not the one before it.
//! 6. Window files together stay within the bound given, oldest out first, never one with a part in flight. While a
//!    window is added, its temporary file comes on top.
//! 7. Whatever the folder holds: reading it ends after time in proportion to its size, with memory in proportion to its
//!    valid records, without following links, and without a panic.
//!
//! # Format
//!
//! Version 1. All numbers are little-endian; checksums are CRC-32 (ISO-HDLC, that of gzip). The folder holds:
//!
//! | name | what |
//! |---|---|
//! | `lock` | empty; its `flock` says that an agent uses the folder |
//! | `state` | the ledger's counts and which parts ended |
//! | `poll` | what the kernel program had counted at the last poll, see `keeper/poll.rs` |
//! | `0123456789abcdef.window` | a window, named by its number in 16 hexadecimal digits; ascending is older to newer |
//! | `0123456789abcdef.tmp` | a window that was not finished; removed at the next start |
//!
//! Other files are nobody's business and left alone.
//!
//! A window file is a header of 32 bytes and records without gaps, in the order of their index.
//!
//! | offset | bytes | header of a window file |
//! |---|---|---|
//! | 0 | 8 | magic `PRFWINDW` |
//! | 8 | 4 | checksum of bytes 12 to 32 |
//! | 12 | 4 | version of the format |
//! | 16 | 8 | number of the window, as in the file's name |
//! | 24 | 4 | number of records |
//! | 28 | 4 | zero |
//!
//! | offset | bytes | record |
//! |---|---|---|
//! | 0 | 4 | magic `PREC` |
//! | 4 | 4 | checksum of bytes 8 to 56 |
//! | 8 | 4 | bytes of the body, at most 4 MiB |
//! | 12 | 4 | checksum of the body |
//! | 16 | 8 | number of the window |
//! | 24 | 4 | index of the part in its window |
//! | 28 | 4 | zero |
//! | 32 | 8 | samples in the part |
//! | 40 | 8 | start of the part's time, nanoseconds since 1970 |
//! | 48 | 8 | end of the part's time, nanoseconds since 1970 |
//! | 56 | | body: an encoded `ExportProfilesServiceRequest` |
//!
//! Where no valid record begins, reading goes on at the next place where one does.
//!
//! `state` is three slots of 16 KiB: a save takes the one that holds neither the state saved last nor the state synced
//! last, and the valid slot of the highest sequence counts.
//!
//! | offset | bytes | slot |
//! |---|---|---|
//! | 0 | 8 | magic `PRFSTATE` |
//! | 8 | 4 | checksum of bytes 12 to 28 and of the payload |
//! | 12 | 4 | version of the format |
//! | 16 | 8 | sequence |
//! | 24 | 4 | bytes of the payload |
//! | 28 | | payload: JSON; unknown fields are skipped, missing ones are zero |
//!
//! A later version keeps magic, checksum and version where they are. Window files of a version that this program does not
//! know are left alone and counted; a state of one is an error.
//!
//! # Why no library
//!
//! Embedded databases (SQLite, redb, fjall) answer a damaged page with an error for the file or the table, not with the
//! other records, and evict nothing by age within a bound of bytes. Queues on disk keep no checksum of an element and no
//! bound in bytes (yaque, queue-file), or are young and built over such a database (disk_backed_queue, persistent-queue).

mod disk;
mod file;
mod recover;
mod scan;
mod settle;
mod state;
mod store;
pub mod trial;
mod window;

#[cfg(test)]
mod tests;

pub use disk::{Disk, Folder};
pub use store::Store;

use bytes::Bytes;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Bytes of an encoded part at most.
pub const MAX_PART_BYTES: usize = 4 << 20;
/// Parts of a window at most.
pub const MAX_PARTS: usize = 4096;
/// Bytes of a window file at most: larger ones are not ours.
pub const MAX_WINDOW_BYTES: u64 = 256 << 20;

/// A part's place: unique in a folder, ever. Smaller is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartId {
    /// Number of its window, ascending with time.
    pub window: u64,
    /// Index in its window.
    pub index: u32,
}

/// A part to store.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// An encoded `ExportProfilesServiceRequest`, at most [`MAX_PART_BYTES`].
    pub body: Bytes,
    /// Samples in it.
    pub samples: u64,
    /// Start of its time, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// End of its time, nanoseconds since 1970.
    pub end_unix_ns: u64,
}

/// A part on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its place.
    pub id: PartId,
    /// Samples in it.
    pub samples: u64,
    /// Bytes of its body.
    pub bytes: u64,
    /// Start of its time, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// End of its time, nanoseconds since 1970.
    pub end_unix_ns: u64,
}

/// A window that was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Its parts, in the order given.
    pub stored: Vec<StoredPart>,
    /// What went for it, oldest first: these parts are gone.
    pub evicted: Vec<StoredPart>,
}

/// A window that could not be added; nothing of it is on disk.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct AppendError {
    /// Why.
    #[source]
    pub error: SpoolError,
    /// What had gone in vain, oldest first: these parts are gone all the same.
    pub evicted: Vec<StoredPart>,
}

/// The ledger's counts, all in samples unless they say otherwise, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Tells agents apart.
    pub run: u64,
    /// Taken by the kernel program.
    pub taken: u64,
    /// Entered the agent's stages.
    pub entered: u64,
    /// Accepted by an endpoint.
    pub exported: u64,
    /// In the spool.
    pub spooled: u64,
    /// In the agent's stages.
    pub pending: u64,
    /// Lost, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Sent again though the endpoint may have had them.
    pub ambiguous: u64,
    /// Time without sampling, seconds.
    pub gap_seconds: f64,
    /// When this was saved, nanoseconds since 1970.
    pub saved_unix_ns: u64,
    /// Saved as the agent's last act: nothing was pending.
    pub clean: bool,
    /// Parts of which the endpoint may have one that it did not answer for.
    pub in_flight: Vec<PartId>,
}

/// What the state file said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// As given to [`Store::save`].
    pub counts: Counts,
    /// The kernel's identity of the boot during which this was saved; empty where it could not be read.
    pub boot_id: String,
    /// Windows from this number on were added after this was saved.
    pub next_window: u64,
    /// Parts that had ended though their window file remains, ascending.
    pub ended: Vec<PartId>,
}

/// What a folder held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// None in a new folder, and where no slot was valid.
    pub state: Option<State>,
    /// Oldest first, without those that had ended.
    pub parts: Vec<StoredPart>,
    /// Records that were damaged. Their window files are written anew without them, so that none is counted again.
    pub corrupt_records: u64,
    /// Temporary files removed.
    pub unfinished: u64,
    /// Window files left where they are: of another version, larger than [`MAX_WINDOW_BYTES`], or not readable now.
    pub left_alone: u64,
}

/// What went wrong with the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process uses the folder.
    #[error("spool {} is in use by another process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {operation} {name} in the spool: {source}")]
    Io {
        /// What was tried, a verb.
        operation: &'static str,
        /// The file, or `.` for the folder.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// Written by a later release.
    #[error("{name} in the spool has version {version}, this program knows {known} at most")]
    Newer {
        /// The file.
        name: String,
        /// Its version.
        version: u32,
        /// The last version known.
        known: u32,
    },
    /// Does not fit whatever goes.
    #[error("{bytes} bytes do not fit into the spool: at most {max_bytes}")]
    TooLarge {
        /// What was to be stored.
        bytes: u64,
        /// What there is room for: the bound that was hit.
        max_bytes: u64,
    },
    /// There is no such part, or it has ended.
    #[error("no part {} of window {} in the spool", id.index, id.window)]
    Missing {
        /// The part asked for.
        id: PartId,
    },
    /// The part is damaged.
    #[error("part {} of window {} in the spool is damaged", id.index, id.window)]
    Corrupt {
        /// The part asked for.
        id: PartId,
    },
}

impl SpoolError {
    pub(crate) fn io(operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, name: name.to_owned(), source }
    }

    /// The disk, or the user's quota on it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_any_of(&[Errno::NOSPC, Errno::DQUOT])
    }

    /// The disk is full, fails, is read-only, or denies access; nothing is wrong with what was asked for.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        self.is_full() || self.is_any_of(&[Errno::IO, Errno::ROFS, Errno::ACCESS, Errno::PERM])
    }

    fn is_any_of(&self, errors: &[Errno]) -> bool {
        let Self::Io { source, .. } = self else { return false };
        errors.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
    }
}
