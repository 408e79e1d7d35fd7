//! What the kernel program is told of processes, and when.

use super::super::branches::hash;
use super::super::chunks::ChunkMemory;
use super::super::store::{Process, ProcessMemory, unknown, without_rows};
use super::super::told::{Mappings, REST_NS_PER_MAPPING, Told};
use super::{File, SWEEP_NS, Table, Unwinder};
use crate::process::{Executable, ExecutableKind, ProcessKey, ProcessTable};
use profiler_common::unwind::place::{MappingEntry, Place};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Path of the kernel's own code in each process.
const VDSO: &str = "[vdso]";

impl<M: ChunkMemory + ProcessMemory> Unwinder<M> {
    /// Tells the kernel program about processes that changed.
    pub fn tell(&mut self, now_ns: u64, processes: &mut ProcessTable) {
        self.now_ns = self.now_ns.max(now_ns);
        let changed = processes.take_changed().into_iter();
        self.stale.extend(changed.filter(|key| self.told.get(key).is_some_and(Told::matters)));
        let rests = |key: &ProcessKey| self.told.get(key).is_some_and(|told| self.now_ns < told.rests_until_ns);
        let (later, now) = std::mem::take(&mut self.stale).into_iter().partition(rests);
        self.stale = later;
        let now: HashSet<ProcessKey> = now;
        for key in now {
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
        match mappings.filter(|mappings| mappings.stored.branches() == branches) {
            Some(mappings) => drop(self.told.insert(child, Told { mappings: Some(mappings), ..Told::default() })),
            None => {
                // The parent has changed meanwhile: what lies there may be something else soon.
                self.told.insert(child, Told { copied: true, ..Told::default() });
                self.stale.insert(child);
            }
        }
    }

    /// A process has ended without a sample.
    pub fn ended(&mut self, key: ProcessKey) {
        self.stale.remove(&key);
        if let Some(mappings) = self.told.remove(&key).and_then(|told| told.mappings) {
            self.release(mappings);
        }
    }

    /// A process runs a new executable; the kernel program has forgotten it.
    pub fn executed(&mut self, key: ProcessKey) {
        let Some(told) = self.told.get_mut(&key) else { return };
        (told.stamps, told.fresh, told.in_vain, told.replaced_ns) = (None, true, 0, 0);
        if !told.copied
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

    /// Lets the kernel program forget all mappings that are not kept for it: of forks that went unnoticed, of processes
    /// whose end did.
    pub fn forget_untold(&mut self) {
        let told = self.told.iter().filter_map(|(key, told)| Some((*key, told.mappings.as_ref()?.stored.branches())));
        let told: HashMap<ProcessKey, Place> = told.collect();
        self.store
            .processes()
            .retain(&|tgid, entry| told.get(&ProcessKey { tgid, start_ns: entry.start_ns }) == Some(&entry.branches));
    }

    /// Frees mappings unless another process has them, too.
    pub(super) fn release(&mut self, mappings: Arc<Mappings>) {
        if let Some(mappings) = Arc::into_inner(mappings) {
            self.store.free(mappings.stored);
        }
    }

    /// What a process maps, and which tables that refers to; its vDSO, when nobody has asked for that one's table.
    fn entries(
        &self,
        key: ProcessKey,
        processes: &mut ProcessTable,
    ) -> (Vec<MappingEntry>, HashSet<u32>, Option<Arc<Executable>>) {
        let (mut entries, mut tables, mut vdso) = (Vec::new(), HashSet::new(), None);
        processes.each_mapping(key, |mapping, executable| {
            let (start, end) = (mapping.start, mapping.end);
            // `[vsyscall]`: the kernel program takes user addresses for signed, and would find it for all that lie above
            // the mapping before it.
            if start >> 63 != 0 {
                return;
            }
            let Some(executable) = executable else { return entries.push(unknown(start, end)) };
            let file = self.files.get(&executable.id);
            if file.is_none() && &*executable.path == VDSO {
                vdso = Some(Arc::clone(executable));
            }
            match file {
                Some(File::With(index, _) | File::Again(index)) => match self.tables.get(index) {
                    Some(Table { stored: Some(stored), .. }) => {
                        let address = executable.start_of(mapping.file_offset);
                        tables.insert(*index);
                        stored.entries(start, end, start.wrapping_sub(address), &mut entries);
                    }
                    _ => entries.push(without_rows(start, end)),
                },
                None | Some(File::Building) if matches!(executable.kind, ExecutableKind::Elf { .. }) => {
                    entries.push(unknown(start, end));
                }
                _ => entries.push(without_rows(start, end)),
            }
        });
        (entries, tables, vdso)
    }

    fn tell_one(&mut self, key: ProcessKey, processes: &mut ProcessTable) {
        let (entries, tables, vdso) = self.entries(key, processes);
        if let Some(vdso) = vdso.filter(|vdso| self.ask(vdso, None)) {
            self.vdso = Some(vdso.id);
        }
        let Some(told) = self.told.get_mut(&key) else { return };
        let process = Process { tgid: key.tgid, start_ns: key.start_ns, stamp: told.stamp(self.now_ns) };
        let hash = hash(&entries);
        if let Some(mappings) = told.mappings.as_ref().filter(|mappings| mappings.hash == hash) {
            told.in_vain += 1;
            return self.store.set_stamp(process, &mappings.stored);
        }
        if let Some(chunks) = told.wait_for_room(size_of_val(&*entries) as u64, self.now_ns) {
            self.store.chunks().memory().prepare(chunks);
            self.stale.insert(key);
            return;
        }
        told.rests_until_ns = self.now_ns + entries.len() as u64 * REST_NS_PER_MAPPING;
        let before = told.mappings.take().and_then(Arc::into_inner).map(|mappings| mappings.stored);
        match self.store.set_process(process, &entries, before.unwrap_or_default()) {
            Ok(stored) => told.mappings = Some(Arc::new(Mappings { stored, tables, hash })),
            Err(error) => tracing::debug!(%error, pid = key.tgid, "cannot tell the kernel program about a process"),
        }
    }
}
