//! Tables and processes in the kernel's memory.

use super::branches::StoredProcess;
use super::chunks::{ChunkMemory, Chunks, Range};
use super::table::UnwindTable;
use profiler_common::unwind::place::{MAX_PAGES, MappingEntry, Place, ProcessEntry, Stamp, kind};
use std::io::Result;
use zerocopy::IntoBytes as _;

/// The kernel program's map of processes.
pub trait ProcessMemory {
    /// Tells the mappings of a process.
    fn set(&mut self, tgid: u32, entry: ProcessEntry) -> Result<()>;
    /// Forgets it.
    fn forget(&mut self, tgid: u32);
    /// Forgets those that are not to be kept.
    fn retain(&mut self, keep: &dyn Fn(u32, ProcessEntry) -> bool);
}

/// A table in the kernel's memory.
#[derive(Debug, Default)]
pub(super) struct StoredTable {
    base: u64,
    page_bits: u32,
    directories: Vec<(Place, u16)>,
    ranges: Vec<Range>,
}

impl StoredTable {
    /// Bytes that it takes.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.bytes)).sum()
    }

    /// Entries for a mapping of the file: one, or several where it spans several directories. `bias` is what to
    /// subtract from an address of the process to get the file's.
    pub(super) fn entries(&self, start: u64, end: u64, bias: u64, into: &mut Vec<MappingEntry>) {
        let (page_bits, span) = (self.page_bits, u64::from(MAX_PAGES) << self.page_bits);
        let mut at = start;
        // What lies before the first page has no rows.
        let before = self.base.saturating_sub(start.wrapping_sub(bias)).min(end - start);
        if before > 0 {
            into.push(without_rows(start, start + before));
            at += before;
        }
        while at < end {
            let distance = at.wrapping_sub(bias).wrapping_sub(self.base);
            let number = distance / span;
            let directory = usize::try_from(number).ok().and_then(|number| self.directories.get(number));
            let Some(&(directory, pages)) = directory else {
                into.push(without_rows(at, end));
                return;
            };
            let stop = at.saturating_add(span - distance % span).min(end);
            into.push(MappingEntry {
                start: at,
                end: stop,
                bias: bias.wrapping_add(self.base).wrapping_add(number * span),
                directory,
                pages,
                page_bits: page_bits as u8,
                kind: kind::ROWS,
            });
            at = stop;
        }
    }
}

/// A mapping whose rows are not here yet.
#[must_use]
pub(super) fn unknown(start: u64, end: u64) -> MappingEntry {
    MappingEntry { kind: kind::UNKNOWN, ..without_rows(start, end) }
}

/// A mapping that has no rows, and never will.
#[must_use]
pub(super) fn without_rows(start: u64, end: u64) -> MappingEntry {
    MappingEntry { start, end, bias: 0, directory: 0, pages: 0, page_bits: 0, kind: kind::NO_ROWS }
}

/// A process as the kernel program knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) tgid: u32,
    pub(super) start_ns: u64,
    pub(super) stamp: Stamp,
}

/// Writes tables and processes.
#[derive(Debug)]
pub(super) struct Store<M> {
    chunks: Chunks<M>,
}

impl<M: ChunkMemory + ProcessMemory> Store<M> {
    /// Nothing is stored yet.
    pub(super) fn new(memory: M) -> Self {
        Self { chunks: Chunks::new(memory) }
    }

    /// The chunks.
    pub(super) fn chunks(&mut self) -> &mut Chunks<M> {
        &mut self.chunks
    }

    /// Stores a table; an error, and nothing stored, when there is no room.
    pub(super) fn add_table(&mut self, table: &UnwindTable) -> Result<StoredTable> {
        let mut stored = StoredTable { base: table.base(), page_bits: table.page_bits(), ..StoredTable::default() };
        let result = self.add_pages(table, &mut stored).and_then(|()| self.chunks.commit());
        if let Err(error) = result {
            self.remove_table(stored);
            return Err(error);
        }
        Ok(stored)
    }

    fn add_pages(&mut self, table: &UnwindTable, stored: &mut StoredTable) -> Result<()> {
        let mut places = Vec::with_capacity(table.page_count());
        for number in 0..table.page_count() {
            let range = table.page(number).map(|page| self.chunks.store(page)).transpose()?;
            places.push(range.map_or(0, |range| range.place));
            stored.ranges.extend(range);
        }
        for directory in places.chunks(MAX_PAGES as usize) {
            let range = self.chunks.store(directory.as_bytes())?;
            stored.directories.push((range.place, directory.len() as u16));
            stored.ranges.push(range);
        }
        Ok(())
    }

    /// Frees a table that no process refers to any more.
    pub(super) fn remove_table(&mut self, stored: StoredTable) {
        stored.ranges.into_iter().for_each(|range| self.chunks.free(range));
    }

    /// Tells a process's mappings, sorted and not overlapping, instead of those before, which nobody else uses.
    pub(super) fn set_process(
        &mut self,
        process: Process,
        mappings: &[MappingEntry],
        before: StoredProcess,
    ) -> Result<StoredProcess> {
        let told = StoredProcess::store(mappings, before, &mut self.chunks).and_then(|stored| {
            match self.tell(process, &stored) {
                Ok(()) => Ok(stored),
                Err(error) => {
                    self.free(stored);
                    Err(error)
                }
            }
        });
        if told.is_err() {
            self.chunks.memory().forget(process.tgid);
        }
        told
    }

    /// Tells that mappings are still those told before, or again.
    pub(super) fn set_stamp(&mut self, process: Process, stored: &StoredProcess) {
        if let Err(error) = self.tell(process, stored) {
            tracing::debug!(%error, pid = process.tgid, "cannot tell the kernel program about a process");
        }
    }

    fn tell(&mut self, process: Process, stored: &StoredProcess) -> Result<()> {
        let Process { tgid, start_ns, stamp } = process;
        let (branches, branch_count) = (stored.branches(), stored.branch_count());
        if branches == 0 {
            self.chunks.memory().forget(tgid);
            return Ok(());
        }
        self.chunks.memory().set(tgid, ProcessEntry { start_ns, branches, branch_count, stamp })
    }

    /// Frees mappings that no process refers to any more.
    pub(super) fn free(&mut self, stored: StoredProcess) {
        stored.free(&mut self.chunks);
    }

    /// The kernel program's map of processes.
    pub(super) fn processes(&mut self) -> &mut M {
        self.chunks.memory()
    }
}
