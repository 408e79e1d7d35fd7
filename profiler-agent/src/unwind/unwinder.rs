//! Which files have tables, which processes the kernel program knows, and what goes when memory is short.
//!
//! A table is asked for when a frame of its file has to be walked for the first time. A process is told to the kernel
//! program once some of its stacks were copied: what ends before that costs nothing but those.

use super::builder::{Builder, Built};
use super::chunks::ChunkMemory;
use super::finish::{Lookup, finish};
use super::store::{Process, ProcessMemory, Store, StoredTable, without_rows};
use super::table::UnwindTable;
use super::told::{COPIES_FIRST, Mappings, Told};
use crate::bpf::Sample;
use crate::process::{CodeAddress, Executable, ExecutableKind, ProcessKey, ProcessTable};
use crate::telemetry::metrics::{Metric, Metrics};
use profiler_common::outcome::UnwindStop;
use profiler_common::record::Stamps;
use profiler_common::unwind::Rule;
use profiler_common::unwind::place::{MappingEntry, Place, kind};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use zerocopy::IntoBytes as _;

/// How long a table stays that no process uses: the next run of a compiler needs it again.
const KEEP_UNUSED_NS: u64 = 60_000_000_000;
/// How long a table stays in the agent's own memory, too: for processes that the kernel program is not told about.
const KEEP_OWN_NS: u64 = 30_000_000_000;
/// Bytes of tables in the agent's own memory.
const MAX_OWN_BYTES: usize = 16 << 20;
/// Path of the kernel's own code in each process.
const VDSO: &str = "[vdso]";
/// Files remembered before those without rows are forgotten: they are looked at again when they are met again.
const MAX_FILES: usize = 16_384;
/// How often is looked for what can go.
const SWEEP_NS: u64 = 1_000_000_000;

/// What an [`Unwinder`] works with.
pub struct UnwinderOptions<M> {
    /// Where tables and processes go.
    pub memory: M,
    /// Sees to it that so many chunks of it are ready; called on threads that may wait.
    pub prepare: Arc<dyn Fn(usize) + Send + Sync>,
    /// Bytes of tables at most.
    pub max_bytes: u64,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// A file.
#[derive(Debug)]
enum File {
    /// Asked for.
    Building,
    /// It has no rows, and never will.
    Without,
    /// Index of its table; and the table itself, while it is in the agent's memory.
    With(u32, Option<Arc<UnwindTable>>),
    /// As above, asked for again.
    Again(u32),
}

/// A table in the kernel's memory; none when there was no room.
#[derive(Debug)]
struct Table {
    stored: Option<StoredTable>,
    hash: [u8; 32],
    rows: u64,
    used_ns: u64,
}

/// Walks what the kernel program could not, and tells it what it needs.
#[derive(Debug)]
pub struct Unwinder<M> {
    store: Store<M>,
    builder: Builder,
    /// By executable.
    files: HashMap<u32, File>,
    tables: HashMap<u32, Table>,
    by_hash: HashMap<[u8; 32], u32>,
    next_table: u32,
    told: HashMap<ProcessKey, Told>,
    /// Processes whose mappings the kernel program should be told.
    stale: HashSet<ProcessKey>,
    /// The executable that all processes have: its table is asked for before a frame of it is seen.
    vdso: Option<u32>,
    max_bytes: u64,
    now_ns: u64,
    swept_ns: u64,
    metrics: Arc<Metrics>,
}

impl<M: ChunkMemory + ProcessMemory> Unwinder<M> {
    /// Starts the thread that builds tables.
    pub fn start(options: UnwinderOptions<M>) -> std::io::Result<Self> {
        Ok(Self {
            store: Store::new(options.memory),
            builder: Builder::start(&options.prepare)?,
            files: HashMap::new(),
            tables: HashMap::new(),
            by_hash: HashMap::new(),
            next_table: 0,
            told: HashMap::new(),
            stale: HashSet::new(),
            vdso: None,
            max_bytes: options.max_bytes,
            now_ns: 0,
            swept_ns: 0,
            metrics: options.metrics,
        })
    }

    /// Takes the steps that the kernel program left; false when a table has to be built first.
    pub fn finish(&mut self, sample: &mut Sample, key: ProcessKey, processes: &mut ProcessTable) -> bool {
        let time_ns = sample.header.time_ns;
        let finished = finish(sample, |address| match processes.user_address(key, address, time_ns) {
            Some(code) => self.lookup(&code),
            None => Lookup::Rule(Rule::NONE),
        });
        if finished {
            self.finished(sample, key);
        }
        finished
    }

    /// The kernel program is told about the process, now that the tables are there. A stack that is deeper than what is
    /// copied cannot wait for more copies.
    fn finished(&mut self, sample: &Sample, key: ProcessKey) {
        let Some(told) = self.told.get_mut(&key) else { return };
        if sample.header.stop == UnwindStop::CopyShort as u32 {
            told.copies = told.copies.max(COPIES_FIRST);
        }
        if told.copies >= COPIES_FIRST {
            self.stale.insert(key);
        }
    }

    /// The same without waiting for tables: the frame pointer is followed where they are missing.
    pub fn give_up(&mut self, sample: &mut Sample, key: ProcessKey, processes: &mut ProcessTable) {
        let time_ns = sample.header.time_ns;
        finish(sample, |address| match processes.user_address(key, address, time_ns).map(|code| self.lookup(&code)) {
            Some(Lookup::Rule(rule)) => Lookup::Rule(rule),
            Some(Lookup::Later) | None => Lookup::Rule(Rule::NONE),
        });
    }

    /// Counts a sample with a copied stack, before its first [`Unwinder::finish`].
    pub fn copied(&mut self, key: ProcessKey, stamps: Stamps) {
        let told = self.told.entry(key).or_default();
        told.copies = told.copies.saturating_add(1);
        (told.stamps, told.fresh) = (Some(stamps), false);
    }

    fn lookup(&mut self, code: &CodeAddress) -> Lookup {
        let ExecutableKind::Elf { .. } = code.executable.kind else { return Lookup::Rule(Rule::NONE) };
        let again = match self.files.get(&code.executable.id) {
            Some(File::With(_, Some(table))) => return Lookup::Rule(table.rule(code.address)),
            Some(File::Without) => return Lookup::Rule(Rule::NONE),
            Some(File::Building | File::Again(_)) => return Lookup::Later,
            Some(File::With(table, None)) => Some(*table),
            None => None,
        };
        if !self.ask(&code.executable, again) {
            return Lookup::Rule(Rule::NONE);
        }
        Lookup::Later
    }

    /// Asks for a table, maybe again; false when too many wait already.
    fn ask(&mut self, executable: &Arc<Executable>, again: Option<u32>) -> bool {
        let asked = self.builder.ask(executable);
        if asked {
            self.files.insert(executable.id, again.map_or(File::Building, File::Again));
        }
        asked
    }

    /// Frames of this executable were seen.
    pub fn used(&mut self, executable: u32) {
        if let Some(File::With(table, _) | File::Again(table)) = self.files.get(&executable)
            && let Some(table) = self.tables.get_mut(table)
        {
            table.used_ns = self.now_ns;
        }
    }

    /// Takes over what was built; true when that was something.
    pub fn take_built(&mut self) -> bool {
        let built: Vec<Built> = self.builder.results().collect();
        let any = !built.is_empty();
        for Built { executable, table } in built {
            if self.vdso == Some(executable) {
                self.stale.extend(self.told.iter().filter(|(_, told)| told.matters()).map(|(key, _)| *key));
            }
            let file = match table {
                Ok((table, hash)) => File::With(self.share(&table, hash), Some(table)),
                Err(reason) => {
                    self.metrics.add(Metric::UnwindRefused, reason, 1);
                    File::Without
                }
            };
            self.files.insert(executable, file);
        }
        any
    }

    /// Index of a table, the same for equal ones.
    fn share(&mut self, table: &UnwindTable, hash: [u8; 32]) -> u32 {
        if let Some(&known) = self.by_hash.get(&hash) {
            return known;
        }
        let stored = self.store_table(table);
        if stored.is_none() {
            self.metrics.add(Metric::UnwindRefused, "no_room", 1);
        }
        let index = self.next_table;
        self.next_table += 1;
        self.tables.insert(index, Table { stored, hash, rows: table.rows(), used_ns: self.now_ns });
        self.by_hash.insert(hash, index);
        index
    }

    /// Puts a table into the kernel's memory; those not used for longest make room.
    fn store_table(&mut self, table: &UnwindTable) -> Option<StoredTable> {
        if table.bytes() as u64 > self.max_bytes {
            return None;
        }
        while self.bytes() + table.bytes() as u64 > self.max_bytes && self.evict() {}
        loop {
            match self.store.add_table(table) {
                Ok(stored) => return Some(stored),
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull && self.evict() => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot store an unwind table");
                    return None;
                }
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.tables.values().filter_map(|table| table.stored.as_ref()).map(StoredTable::bytes).sum()
    }

    /// Lets the table go that was not used for longest; false when there is none.
    fn evict(&mut self) -> bool {
        let stored = self.tables.iter().filter(|(_, table)| table.stored.is_some());
        let Some((&oldest, _)) = stored.min_by_key(|(_, table)| table.used_ns) else { return false };
        self.metrics.add(Metric::UnwindEvicted, "", 1);
        self.remove(oldest);
        true
    }

    fn remove(&mut self, index: u32) {
        let Some(table) = self.tables.remove(&index) else { return };
        self.by_hash.remove(&table.hash);
        self.files.retain(|_, file| !matches!(file, File::With(table, _) | File::Again(table) if *table == index));
        let users = self.told.iter().filter(|(_, told)| told.uses(index)).map(|(key, _)| *key);
        // Their entries still point at it: they are rewritten before its memory is used again.
        self.stale.extend(users);
        if let Some(stored) = table.stored {
            self.store.remove_table(stored);
        }
    }

    /// Tells the kernel program about processes that changed.
    pub fn tell(&mut self, now_ns: u64, processes: &mut ProcessTable) {
        self.now_ns = self.now_ns.max(now_ns);
        let changed = processes.take_changed().into_iter();
        self.stale.extend(changed.filter(|key| self.told.get(key).is_some_and(Told::matters)));
        for key in std::mem::take(&mut self.stale) {
            self.tell_one(key, processes);
        }
        self.store.chunks().advance(self.now_ns);
        if self.swept_ns + SWEEP_NS <= self.now_ns {
            self.swept_ns = self.now_ns;
            self.sweep(processes);
        }
    }

    /// A process was forked; the kernel program knows of it what it knew of its parent then, which lies at `branches`.
    pub fn forked(&mut self, child: ProcessKey, parent: ProcessKey, branches: Place) {
        if branches == 0 {
            return;
        }
        let mappings = self.told.get(&parent).and_then(|parent| parent.mappings.clone());
        match mappings.filter(|mappings| mappings.stored.branches == branches) {
            Some(mappings) => drop(self.told.insert(child, Told { mappings: Some(mappings), ..Told::default() })),
            None => {
                // The parent has changed meanwhile: what lies there may be something else soon.
                self.told.insert(child, Told { copies: COPIES_FIRST, ..Told::default() });
                self.stale.insert(child);
            }
        }
    }

    /// A process runs a new executable; the kernel program has forgotten it.
    pub fn executed(&mut self, key: ProcessKey) {
        let Some(told) = self.told.get_mut(&key) else { return };
        (told.stamps, told.fresh, told.in_vain, told.replaced_ns) = (None, true, 0, 0);
        if told.copies < COPIES_FIRST
            && let Some(mappings) = told.mappings.take()
        {
            self.release(mappings);
        }
    }

    /// A process has mapped a file, maybe where another one was.
    pub fn mapped(&mut self, key: ProcessKey, replaces: bool, time_ns: u64) {
        if let Some(told) = self.told.get_mut(&key) {
            (told.stamps, told.in_vain) = (None, 0);
            if replaces {
                (told.replaced_ns, told.fresh) = (time_ns, false);
            }
        }
    }

    /// Forks may have gone unnoticed: the kernel program must not go by mappings that are not kept for it.
    pub fn events_lost(&mut self) {
        let told = self.told.iter().filter_map(|(key, told)| Some((*key, told.mappings.as_ref()?.stored.branches)));
        let told: HashMap<ProcessKey, Place> = told.collect();
        self.store
            .processes()
            .retain(&|tgid, entry| told.get(&ProcessKey { tgid, start_ns: entry.start_ns }) == Some(&entry.branches));
    }

    /// Frees mappings unless another process has them, too.
    fn release(&mut self, mappings: Arc<Mappings>) {
        if let Some(mappings) = Arc::into_inner(mappings) {
            self.store.free(mappings.stored);
        }
    }

    fn tell_one(&mut self, key: ProcessKey, processes: &mut ProcessTable) {
        let mut entries = Vec::new();
        let mut tables = HashSet::new();
        let mut vdso = None;
        processes.each_mapping(key, |mapping, executable| {
            // `[vsyscall]`: the kernel program takes user addresses for signed, and would find it for all that lie above
            // the mapping before it.
            if mapping.start >> 63 != 0 {
                return;
            }
            let Some(executable) = executable else {
                return entries.push(MappingEntry { kind: kind::UNKNOWN, ..without_rows(mapping.start, mapping.end) });
            };
            let file = self.files.get(&executable.id);
            if file.is_none() && &*executable.path == VDSO {
                vdso = Some(Arc::clone(executable));
            }
            match file {
                Some(File::With(index, _) | File::Again(index)) => match self.tables.get(index) {
                    Some(Table { stored: Some(stored), .. }) => {
                        let address = executable.start_of(mapping.file_offset);
                        tables.insert(*index);
                        stored.entries(mapping.start, mapping.end, mapping.start.wrapping_sub(address), &mut entries);
                    }
                    _ => entries.push(without_rows(mapping.start, mapping.end)),
                },
                None | Some(File::Building) if matches!(executable.kind, ExecutableKind::Elf { .. }) => {
                    entries.push(MappingEntry { kind: kind::UNKNOWN, ..without_rows(mapping.start, mapping.end) });
                }
                _ => entries.push(without_rows(mapping.start, mapping.end)),
            }
        });
        if let Some(vdso) = vdso.filter(|vdso| self.ask(vdso, None)) {
            self.vdso = Some(vdso.id);
        }
        let Some(told) = self.told.get_mut(&key) else { return };
        let process = Process { tgid: key.tgid, start_ns: key.start_ns, stamp: told.stamp(self.now_ns) };
        let hash = hash(&entries);
        let result = match &told.mappings {
            Some(mappings) if mappings.hash == hash => {
                told.in_vain += 1;
                return self.store.set_stamp(process, &mappings.stored);
            }
            _ => self.store.set_process(process, &entries),
        };
        let before = match result {
            Ok(stored) => told.mappings.replace(Arc::new(Mappings { stored, tables, hash })),
            Err(error) => {
                tracing::debug!(%error, pid = key.tgid, "cannot tell the kernel program about a process");
                told.mappings.take()
            }
        };
        before.into_iter().for_each(|mappings| self.release(mappings));
    }

    /// Lets go what nobody uses.
    fn sweep(&mut self, processes: &ProcessTable) {
        let gone: Vec<ProcessKey> = self.told.keys().copied().filter(|key| !processes.contains(*key)).collect();
        for key in gone {
            self.stale.remove(&key);
            if let Some(mappings) = self.told.remove(&key).and_then(|told| told.mappings) {
                self.store.processes().forget(key.tgid);
                self.release(mappings);
            }
        }
        let mappings = self.told.values().filter_map(|told| told.mappings.as_ref());
        let used: HashSet<u32> = mappings.flat_map(|mappings| mappings.tables.iter().copied()).collect();
        let now_ns = self.now_ns;
        let unused = |(index, table): &(&u32, &Table)| !used.contains(index) && table.used_ns + KEEP_UNUSED_NS < now_ns;
        let unused: Vec<u32> = self.tables.iter().filter(unused).map(|(index, _)| *index).collect();
        unused.into_iter().for_each(|index| self.remove(index));
        if self.files.len() > MAX_FILES {
            self.files.retain(|_, file| !matches!(file, File::Without));
        }
        self.drop_own_copies();
        self.report();
    }

    /// Tables in the agent's own memory go when they were not used for long, or when there are too many.
    fn drop_own_copies(&mut self) {
        let mut own_bytes = 0;
        for file in self.files.values_mut() {
            let File::With(index, table) = file else { continue };
            let used_ns = self.tables.get(index).map_or(0, |table| table.used_ns);
            own_bytes += table.as_ref().map_or(0, |table| table.bytes());
            if used_ns + KEEP_OWN_NS < self.now_ns || own_bytes > MAX_OWN_BYTES {
                *table = None;
            }
        }
    }

    fn report(&mut self) {
        let stored = self.tables.values().filter(|table| table.stored.is_some());
        self.metrics.set(Metric::UnwindRows, "", stored.map(|table| table.rows).sum::<u64>() as f64);
        let chunks = self.store.chunks();
        self.metrics.set(Metric::UnwindBytes, "", chunks.bytes() as f64);
        self.metrics.set(Metric::MapUsed, "chunks", chunks.used_ratio());
    }
}

fn hash(entries: &[MappingEntry]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(entries.as_bytes());
    hasher.finish()
}
