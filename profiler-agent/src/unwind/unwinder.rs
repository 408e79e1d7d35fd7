//! Which files have tables, which processes the kernel program knows, and what goes when memory is short.
//!
//! A table is asked for when a frame of its file has to be walked for the first time. A process is told to the kernel
//! program once a stack of it was copied and walked: what has no samples costs nothing.

mod telling;

use super::builder::{Builder, Built};
use super::chunks::ChunkMemory;
use super::finish::{Lookup, finish};
use super::store::{ProcessMemory, Store, StoredTable};
use super::table::UnwindTable;
use super::told::Told;
use crate::bpf::Sample;
use crate::governor::Pressure;
use crate::process::{CodeAddress, Executable, ExecutableKind, ProcessKey, ProcessTable};
use crate::telemetry::metrics::{Metric, Metrics};
use profiler_common::limits::MAX_PROCESSES;
use profiler_common::record::Stamps;
use profiler_common::unwind::Rule;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How long a table stays that no process uses: the next run of a compiler needs it again.
const KEEP_UNUSED_NS: u64 = 60_000_000_000;
/// How long a table stays in the agent's own memory, too: for processes that the kernel program is not told about.
const KEEP_OWN_NS: u64 = 30_000_000_000;
/// Bytes of tables in the agent's own memory.
const MAX_OWN_BYTES: usize = 16 << 20;
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
    /// What is left of that when memory is short.
    pub pressure: Pressure,
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
    pressure: Pressure,
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
            pressure: options.pressure,
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
            // The kernel program can be told, now that the tables are there.
            self.stale.insert(key);
        }
        finished
    }

    /// The same without waiting for tables: the frame pointer is followed where they are missing.
    pub fn give_up(&mut self, sample: &mut Sample, key: ProcessKey, processes: &mut ProcessTable) {
        let time_ns = sample.header.time_ns;
        finish(sample, |address| match processes.user_address(key, address, time_ns).map(|code| self.lookup(&code)) {
            Some(Lookup::Rule(rule)) => Lookup::Rule(rule),
            Some(Lookup::Later) | None => Lookup::Rule(Rule::NONE),
        });
    }

    /// A stack of a process was copied; before its first [`Unwinder::finish`].
    pub fn copied(&mut self, key: ProcessKey, stamps: Stamps) {
        let told = self.told.entry(key).or_default();
        (told.copied, told.stamps, told.fresh) = (true, Some(stamps), false);
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
        let max_bytes = self.pressure.bound(self.max_bytes);
        if table.bytes() as u64 > max_bytes {
            return None;
        }
        while self.bytes() + table.bytes() as u64 > max_bytes && self.evict() {}
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
        while self.pressure.halvings() > 0 && self.bytes() > self.pressure.bound(self.max_bytes) && self.evict() {}
        if self.files.len() > MAX_FILES {
            self.files.retain(|_, file| !matches!(file, File::Without));
        }
        self.drop_own_copies();
        self.report();
    }

    /// Tables in the agent's own memory go when they were not used for long; when there are too many, those that were not
    /// used for longest.
    fn drop_own_copies(&mut self) {
        let used_ns = |index: &u32| self.tables.get(index).map_or(0, |table| table.used_ns);
        let own = self.files.values_mut().filter_map(|file| match file {
            File::With(index, table @ Some(_)) => Some((used_ns(index), table)),
            _ => None,
        });
        let mut own: Vec<_> = own.collect();
        own.sort_by_key(|(used_ns, _)| Reverse(*used_ns));
        let (mut own_bytes, max_own_bytes) = (0, self.pressure.bound(MAX_OWN_BYTES as u64) as usize);
        for (used_ns, table) in own {
            own_bytes += table.as_ref().map_or(0, |table| table.bytes());
            if used_ns + KEEP_OWN_NS < self.now_ns || own_bytes > max_own_bytes {
                *table = None;
            }
        }
    }

    fn report(&mut self) {
        let stored = self.tables.values().filter(|table| table.stored.is_some());
        self.metrics.set(Metric::UnwindRows, "", stored.map(|table| table.rows).sum::<u64>() as f64);
        let told = self.told.values().filter(|told| told.mappings.is_some()).count() as f64;
        self.metrics.set(Metric::MapUsed, "processes", (told / f64::from(MAX_PROCESSES)).min(1.0));
        let chunks = self.store.chunks();
        self.metrics.set(Metric::UnwindBytes, "", chunks.bytes() as f64);
        self.metrics.set(Metric::MapUsed, "chunks", chunks.used_ratio());
    }
}
