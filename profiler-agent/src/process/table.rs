//! The processes of the host: what is mapped where, and what they are called.
//!
//! Events cost a few bytes each; mappings are read from `/proc` at the first sample of a process whose last exec and
//! whose parent are not known, and again when an address is in no known mapping.

mod looking;
#[cfg(test)]
mod tests;

use super::containers::Containers;
use super::executable::{Executable, ExecutableKind, Executables, FileKey};
use super::identity::{self, Identity};
use super::jit::Jit;
use super::mapping::{Mapping, Mappings};
use crate::bpf::{ExecEvent, MmapEvent, Sample};
use profiler_common::record::{FORK, ProcessEvent};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Processes remembered at most.
const MAX_PROCESSES: usize = 65_536;
/// How long a dead process is remembered: its last samples may still be in other rings, or wait for tables.
const REMEMBER_NS: u64 = 6_000_000_000;
/// How often a process is looked for in another cgroup: in v1 its threads may be in several.
const SETTLE_NS: u64 = 1_000_000_000;
/// How often processes whose end was missed are looked for.
const SWEEP_NS: u64 = 30_000_000_000;

/// A process for good: pid and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Process id.
    pub tgid: u32,
    /// Start, nanoseconds of CLOCK_BOOTTIME.
    pub start_ns: u64,
}

#[derive(Default)]
struct Process {
    parent: Option<ProcessKey>,
    /// Shared with children until one of them changes.
    mappings: Arc<Mappings>,
    /// Theirs alone of all that any process ever had; 0 while they have none.
    mappings_number: u64,
    /// None until the first sample since fork or exec.
    identity: Option<Arc<Identity>>,
    /// The cgroup that it was in then, and when it may be looked for in another one.
    cgroup_id: u64,
    settles_ns: u64,
    /// Whether it ever had a sample.
    had_sample: bool,
    jit: Jit,
    /// When `/proc` may be read again, and how often it was.
    reload_after_ns: u64,
    reloads: u32,
    last_used_ns: u64,
    /// All its mappings until then are known, and those after it of which events have come; 0 when some may not be.
    known_ns: u64,
    /// When they may be looked at again after a loss.
    rests_until_ns: u64,
}

/// An address in code: where it is, and the file it is in.
#[derive(Clone, Debug)]
pub struct CodeAddress {
    /// What it lies in.
    pub executable: Arc<Executable>,
    /// In the address space that symbols of the file use; absolute for the kernel and anonymous memory.
    pub address: u64,
}

/// All known processes.
pub struct ProcessTable {
    processes: HashMap<ProcessKey, Process>,
    /// The living process of a pid.
    current: HashMap<u32, ProcessKey>,
    /// Dead processes by the time they died.
    dead: VecDeque<(u64, ProcessKey)>,
    executables: Executables,
    names: identity::Naming,
    containers: Containers,
    swept_ns: u64,
    /// Processes whose mappings are others than at the last [`ProcessTable::take_changed`].
    changed: HashSet<ProcessKey>,
    /// The last [`Process::mappings_number`].
    last_number: u64,
    /// When events last went missing: what was known of mappings before may be wrong.
    lost_ns: u64,
    /// The same for those of processes that had no sample then.
    unsampled_lost_ns: u64,
}

impl ProcessTable {
    /// Knows nobody.
    #[must_use]
    pub fn new(executables: Executables, names: identity::Naming) -> Self {
        Self {
            processes: HashMap::new(),
            current: HashMap::new(),
            dead: VecDeque::new(),
            executables,
            names,
            containers: Containers::default(),
            swept_ns: 0,
            changed: HashSet::new(),
            last_number: 0,
            lost_ns: 0,
            unsampled_lost_ns: 0,
        }
    }

    /// A process was forked or ended; whether it is forgotten. One that ended without a sample is: nothing of it can
    /// come any more, as its samples were in the ring buffer before its end.
    pub fn process_event(&mut self, event: &ProcessEvent) -> bool {
        let key = ProcessKey { tgid: event.tgid, start_ns: event.start_ns };
        if event.kind == FORK {
            self.fork(key, ProcessKey { tgid: event.parent_tgid, start_ns: event.parent_start_ns }, event.time_ns);
            return false;
        }
        let Some(process) = self.processes.get(&key) else { return false };
        let had_sample = process.had_sample;
        if self.current.get(&key.tgid) == Some(&key) {
            self.current.remove(&key.tgid);
        }
        if had_sample {
            self.dead.push_back((event.time_ns, key));
            return false;
        }
        self.processes.remove(&key);
        self.changed.remove(&key);
        true
    }

    fn fork(&mut self, child: ProcessKey, parent: ProcessKey, time_ns: u64) {
        if self.processes.len() >= MAX_PROCESSES {
            self.make_room();
        }
        let known = self.processes.get(&parent).map(|parent| (parent.mappings.clone(), parent.known_ns));
        let (mappings, known_ns) = known.unwrap_or_default();
        let process = Process { parent: Some(parent), mappings, last_used_ns: time_ns, known_ns, ..Process::default() };
        self.processes.insert(child, process);
        self.current.insert(child.tgid, child);
    }

    /// A process begins to run a new executable; which one, if it is known.
    pub fn exec(&mut self, event: &ExecEvent) -> Option<ProcessKey> {
        let key = *self.current.get(&event.tgid)?;
        let process = self.processes.get_mut(&key)?;
        let (time_ns, had_sample) = (event.time_ns, process.had_sample);
        *process = Process { last_used_ns: time_ns, known_ns: time_ns, had_sample, ..Process::default() };
        self.changed.insert(key);
        Some(key)
    }

    /// An executable file was mapped: by which process, if it is known, and whether another one was there before.
    pub fn mmap(&mut self, event: MmapEvent) -> Option<(ProcessKey, bool)> {
        let key = *self.current.get(&event.tgid)?;
        let process = self.processes.get_mut(&key)?;
        self.changed.insert(key);
        process.mappings_number = 0;
        let replaces = Arc::make_mut(&mut process.mappings).insert(Mapping {
            start: event.start,
            end: event.end,
            file_offset: event.file_offset,
            key: FileKey { device: event.device, inode: event.inode },
            path: event.path,
            mapped_after_s: self.names.unix_seconds(event.time_ns),
            executable: None,
        });
        Some((key, replaces))
    }

    /// Events of processes without a sample were left out before a time: `/proc` says what they map.
    pub fn unsampled_lost(&mut self, time_ns: u64) {
        self.unsampled_lost_ns = self.unsampled_lost_ns.max(time_ns);
    }

    /// Events went missing before a time: the mappings of each process are looked at again when they are needed.
    pub fn events_lost(&mut self, time_ns: u64) {
        self.lost_ns = self.lost_ns.max(time_ns);
    }

    /// Who a sample belongs to. `kernel_thread` is the sample when its task is one, `time_ns` the sample's time, and
    /// `cgroup_id` the cgroup that containers are told apart by, 0 where it is not known.
    pub fn identity(
        &mut self,
        key: ProcessKey,
        kernel_thread: Option<&Sample>,
        time_ns: u64,
        cgroup_id: u64,
    ) -> Arc<Identity> {
        if let Some(identity) = self.processes.get(&key).and_then(|process| process.identity.clone()) {
            let moved = kernel_thread.is_none() && cgroup_id != 0;
            return if moved { self.moved(key, identity, time_ns, cgroup_id) } else { identity };
        }
        if let Some(sample) = kernel_thread {
            let process = self.processes.entry(key).or_default();
            (process.last_used_ns, process.had_sample) = (time_ns, true);
            return Arc::clone(process.identity.insert(identity::of_kernel_thread(sample.comm())));
        }
        self.look(key, time_ns);
        let process = self.processes.entry(key).or_default();
        let identity = match self.names.of_live(key) {
            Some(identity) => {
                self.containers.note(cgroup_id, identity.container.as_ref());
                identity
            }
            None => self.names.of_dead(process.mappings.first_file(), self.containers.get(cgroup_id)),
        };
        (process.identity, process.had_sample) = (Some(Arc::clone(&identity)), true);
        (process.cgroup_id, process.settles_ns) = (cgroup_id, time_ns.saturating_add(SETTLE_NS));
        self.current.insert(key.tgid, key);
        identity
    }

    /// The same process, perhaps in another container by now.
    fn moved(&mut self, key: ProcessKey, old: Arc<Identity>, time_ns: u64, cgroup_id: u64) -> Arc<Identity> {
        let Some(process) = self.processes.get_mut(&key) else { return old };
        if process.cgroup_id == cgroup_id || process.settles_ns > time_ns {
            return old;
        }
        process.settles_ns = time_ns.saturating_add(SETTLE_NS);
        let Some(new) = self.names.of_live(key) else { return old };
        process.cgroup_id = cgroup_id;
        self.containers.note(cgroup_id, new.container.as_ref());
        let identity = if *new == *old { old } else { new };
        process.identity = Some(Arc::clone(&identity));
        identity
    }

    /// An address in the kernel.
    #[must_use]
    pub fn kernel_address(&self, address: u64) -> CodeAddress {
        CodeAddress { executable: self.executables.kernel(), address }
    }

    /// An address in a process at a time; none when nothing executable is mapped there.
    pub fn user_address(&mut self, key: ProcessKey, address: u64, time_ns: u64) -> Option<CodeAddress> {
        self.make_up(key, time_ns);
        let process = self.processes.get_mut(&key)?;
        if process.mappings.find(address).is_none() && !self.find_new(key, address, time_ns) {
            return None;
        }
        let process = self.processes.get_mut(&key)?;
        let found = process.mappings.find(address)?;
        let (start, file_offset) = (found.start, found.file_offset);
        let executable = match &found.executable {
            Some(executable) => Arc::clone(executable),
            None => {
                let mapping = Arc::make_mut(&mut process.mappings).find_mut(address)?;
                // Its own id costs a call of the kernel.
                let parent = process.parent.map_or(key.tgid, |parent| parent.tgid);
                let roots = [key.tgid, parent, std::process::id()];
                Arc::clone(mapping.executable.insert(self.executables.bind(key.tgid, mapping, &roots)))
            }
        };
        if matches!(executable.kind, ExecutableKind::Anonymous) {
            let own = process.jit.executable(key, &process.mappings, &self.names, &mut self.executables, time_ns);
            return Some(CodeAddress { executable: own.unwrap_or(executable), address });
        }
        let address = executable.address_of(address - start + file_offset);
        Some(CodeAddress { executable, address })
    }

    /// A number that the mappings of a process have until one changes, and no others ever; 0 when they have to be looked
    /// at first.
    pub fn mappings_number(&mut self, key: ProcessKey, time_ns: u64) -> u64 {
        let Some(process) = self.processes.get_mut(&key).filter(|process| process.known_ns >= self.lost_ns) else {
            return 0;
        };
        process.last_used_ns = time_ns;
        if process.mappings_number == 0 {
            self.last_number += 1;
            process.mappings_number = self.last_number;
        }
        process.mappings_number
    }

    /// Whether a process is known.
    #[must_use]
    pub fn contains(&self, key: ProcessKey) -> bool {
        self.processes.contains_key(&key)
    }

    /// Processes whose mappings have changed since the last call.
    pub fn take_changed(&mut self) -> HashSet<ProcessKey> {
        std::mem::take(&mut self.changed)
    }

    /// All executable mappings of a process, by address, with the file of each where that is known already. No file is
    /// looked at.
    pub fn each_mapping(&mut self, key: ProcessKey, mut each: impl FnMut(&Mapping, Option<&Arc<Executable>>)) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        let mut known = Vec::new();
        for mapping in process.mappings.iter().filter(|mapping| mapping.executable.is_none()) {
            let executable = match mapping.key.inode {
                0 => Some(self.executables.bind(key.tgid, mapping, &[])),
                _ => self.executables.known(mapping),
            };
            known.extend(executable.map(|executable| (mapping.start, executable)));
        }
        for (start, executable) in known {
            if let Some(mapping) = Arc::make_mut(&mut process.mappings).find_mut(start) {
                mapping.executable = Some(executable);
            }
        }
        process.mappings.iter().for_each(|mapping| each(mapping, mapping.executable.as_ref()));
    }

    /// What stands for addresses that are no code.
    #[must_use]
    pub fn unmapped(&self) -> CodeAddress {
        CodeAddress { executable: self.executables.unmapped(), address: 1 }
    }

    /// Forgets the dead, `now_ns` being the time of the youngest event. Whether it was looked for those whose end nobody
    /// reported, too.
    pub fn forget(&mut self, now_ns: u64) -> bool {
        while let Some(&(died_ns, key)) = self.dead.front()
            && died_ns + REMEMBER_NS < now_ns
        {
            self.dead.pop_front();
            self.processes.remove(&key);
        }
        let due = self.swept_ns + SWEEP_NS < now_ns;
        if due {
            self.swept_ns = now_ns;
            self.sweep(now_ns);
        }
        due
    }

    /// Finds processes whose end was missed, and files that nobody needs any more.
    fn sweep(&mut self, now_ns: u64) {
        let names = &self.names;
        self.processes.retain(|&key, process| process.last_used_ns + SWEEP_NS > now_ns || names.lives(key));
        self.current.retain(|_, key| self.processes.contains_key(key));
        self.executables.close_unused(now_ns);
    }

    /// The half that was not used for longest goes.
    fn make_room(&mut self) {
        let mut used: Vec<u64> = self.processes.values().map(|process| process.last_used_ns).collect();
        let middle = used.len() / 2;
        let (_, &mut middle_ns, _) = used.select_nth_unstable(middle);
        self.processes.retain(|_, process| process.last_used_ns > middle_ns);
        self.current.retain(|_, key| self.processes.contains_key(key));
    }
}
