//! Profiles of several windows as one, and parts of a profile.
//!
//! In: profiles with tables of their own. Out: one profile whose tables hold each entry once and nothing that no sample
//! needs.
//!
//! Counts of equal periods are summed. Periods differ only where the frequency was changed while running. Then the
//! merged period is their greatest common divisor and every count is multiplied by its own period over that: CPU time,
//! count × period, stays exact for every stack, thread and service, and a count is no longer a number of interrupts.
//! Rounding to the smallest period would keep neither.

use crate::profile::{Function, Line, Location, Mapping, Process, Profile, Sample, Service, Thread};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Which samples to keep: those that fit everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `service.name`, whatever the other labels.
    pub service: Option<String>,
    /// Process id on the host.
    pub pid: Option<u32>,
    /// Thread id on the host.
    pub tid: Option<u32>,
}

impl Selection {
    fn has_service(&self, service: &Service) -> bool {
        self.service.as_ref().is_none_or(|name| **name == *service.name)
    }

    fn has_thread(&self, profile: &Profile, thread: u32) -> bool {
        let thread = &profile.threads[thread as usize];
        self.tid.is_none_or(|tid| tid == thread.tid)
            && self.pid.is_none_or(|pid| pid == profile.processes[thread.process as usize].pid)
    }
}

/// One profile of all samples, from the earliest start to the latest end; gaps between the profiles are part of it.
///
/// Equal are: services with the same name and labels, threads with the same process and id (the first name stays),
/// stacks with the same locations. The order of everything is that of its first appearance.
#[must_use]
pub fn merge<'a>(profiles: impl IntoIterator<Item = &'a Profile>) -> Profile {
    merge_selected(profiles, &Selection::default())
}

/// The selected samples of a profile; span and period stay, also when nothing is left.
#[must_use]
pub fn filter(profile: &Profile, selection: &Selection) -> Profile {
    merge_selected([profile], selection)
}

/// [`merge`] of what [`filter`] leaves, in one pass.
#[must_use]
pub fn merge_selected<'a>(profiles: impl IntoIterator<Item = &'a Profile>, selection: &Selection) -> Profile {
    let mut merger = Merger::default();
    for profile in profiles {
        merger.add(profile, selection);
    }
    merger.finish()
}

/// The merged tables under construction.
#[derive(Default)]
struct Merger {
    /// Start and end in Unix nanoseconds.
    span: Option<(u64, u64)>,
    period_ns: u64,
    mappings: Table<Mapping>,
    functions: Table<Function>,
    locations: Table<Location>,
    stacks: Table<Box<[u32]>>,
    processes: Table<Process>,
    /// By process and tid; the names stand beside.
    threads: Table<(u32, u32)>,
    thread_names: Vec<Arc<str>>,
    services: Table<(Arc<str>, Labels)>,
    /// By service, stack and thread.
    samples: Table<(u32, u32, u32)>,
    counts: Vec<u64>,
}

type Labels = Vec<(Arc<str>, Arc<str>)>;

impl Merger {
    fn add(&mut self, profile: &Profile, selection: &Selection) {
        self.extend_span(profile);
        let scale = self.common_period(profile.period_ns);
        let mut remap = Remap::new(profile);
        for service in profile.services.iter().filter(|service| selection.has_service(service)) {
            let mut own = None;
            for sample in service.samples.iter().filter(|sample| selection.has_thread(profile, sample.thread)) {
                let own = *own
                    .get_or_insert_with(|| self.services.intern((Arc::clone(&service.name), service.labels.clone())));
                let stack = self.stack(&mut remap, sample.stack);
                let thread = self.thread(&mut remap, sample.thread);
                self.count((own, stack, thread), sample.count.saturating_mul(scale));
            }
        }
    }

    /// An empty default profile has no place in time.
    fn extend_span(&mut self, profile: &Profile) {
        let start = profile.start_unix_ns;
        let end = start.saturating_add(profile.duration_ns);
        if end > 0 {
            let (first, last) = self.span.unwrap_or((start, end));
            self.span = Some((first.min(start), last.max(end)));
        }
    }

    /// Makes the period a divisor of this one; returns what this one's counts are to be multiplied by. A profile
    /// without a period, which can only be empty, changes nothing.
    fn common_period(&mut self, period_ns: u64) -> u64 {
        if period_ns == 0 || period_ns == self.period_ns {
            return 1;
        }
        let common = greatest_common_divisor(self.period_ns, period_ns);
        let scale = self.period_ns / common;
        if scale > 1 {
            self.counts.iter_mut().for_each(|count| *count = count.saturating_mul(scale));
        }
        self.period_ns = common;
        period_ns / common
    }

    fn count(&mut self, key: (u32, u32, u32), count: u64) {
        let index = self.samples.intern(key) as usize;
        match self.counts.get_mut(index) {
            Some(sum) => *sum = sum.saturating_add(count),
            None => self.counts.push(count),
        }
    }

    fn stack(&mut self, remap: &mut Remap<'_>, index: u32) -> u32 {
        if let Some(merged) = remap.stacks[index as usize] {
            return merged;
        }
        let stack =
            remap.profile.stacks[index as usize].iter().map(|&location| self.location(remap, location)).collect();
        *remap.stacks[index as usize].insert(self.stacks.intern(stack))
    }

    fn location(&mut self, remap: &mut Remap<'_>, index: u32) -> u32 {
        if let Some(merged) = remap.locations[index as usize] {
            return merged;
        }
        let location = &remap.profile.locations[index as usize];
        let lines = location.lines.iter().map(|line| Line { function: self.function(remap, line.function), ..*line });
        let lines = lines.collect();
        let mapping = self.mapping(remap, location.mapping);
        let merged = self.locations.intern(Location { mapping, lines, ..*location });
        *remap.locations[index as usize].insert(merged)
    }

    fn function(&mut self, remap: &mut Remap<'_>, index: u32) -> u32 {
        let function = &remap.profile.functions[index as usize];
        *remap.functions[index as usize].get_or_insert_with(|| self.functions.intern(function.clone()))
    }

    fn mapping(&mut self, remap: &mut Remap<'_>, index: u32) -> u32 {
        let mapping = &remap.profile.mappings[index as usize];
        *remap.mappings[index as usize].get_or_insert_with(|| self.mappings.intern(mapping.clone()))
    }

    fn thread(&mut self, remap: &mut Remap<'_>, index: u32) -> u32 {
        if let Some(merged) = remap.threads[index as usize] {
            return merged;
        }
        let thread = &remap.profile.threads[index as usize];
        let process = self.processes.intern(remap.profile.processes[thread.process as usize].clone());
        let merged = self.threads.intern((process, thread.tid));
        if merged as usize == self.thread_names.len() {
            self.thread_names.push(Arc::clone(&thread.name));
        }
        *remap.threads[index as usize].insert(merged)
    }

    fn finish(self) -> Profile {
        let (start, end) = self.span.unwrap_or_default();
        let mut services: Vec<Service> = self
            .services
            .entries
            .into_iter()
            .map(|(name, labels)| Service { name, labels, samples: Vec::new() })
            .collect();
        for ((service, stack, thread), count) in self.samples.entries.into_iter().zip(self.counts) {
            services[service as usize].samples.push(Sample { stack, thread, count });
        }
        let threads = self.threads.entries.into_iter().zip(self.thread_names);
        Profile {
            start_unix_ns: start,
            duration_ns: end - start,
            period_ns: self.period_ns,
            mappings: self.mappings.entries,
            functions: self.functions.entries,
            locations: self.locations.entries,
            stacks: self.stacks.entries,
            processes: self.processes.entries,
            threads: threads.map(|((process, tid), name)| Thread { process, tid, name }).collect(),
            services,
        }
    }
}

/// Euclid's; gcd(0, b) = b.
fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if a == 0 { b } else { greatest_common_divisor(b % a, a) }
}

/// Where the entries of one profile's tables stand in the merged ones; empty until a sample needs them.
struct Remap<'a> {
    profile: &'a Profile,
    mappings: Vec<Option<u32>>,
    functions: Vec<Option<u32>>,
    locations: Vec<Option<u32>>,
    stacks: Vec<Option<u32>>,
    threads: Vec<Option<u32>>,
}

impl<'a> Remap<'a> {
    fn new(profile: &'a Profile) -> Self {
        Self {
            profile,
            mappings: vec![None; profile.mappings.len()],
            functions: vec![None; profile.functions.len()],
            locations: vec![None; profile.locations.len()],
            stacks: vec![None; profile.stacks.len()],
            threads: vec![None; profile.threads.len()],
        }
    }
}

/// Entries, each once, and where they stand.
struct Table<T> {
    entries: Vec<T>,
    indices: HashMap<T, u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), indices: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    fn intern(&mut self, entry: T) -> u32 {
        if let Some(&index) = self.indices.get(&entry) {
            return index;
        }
        let index = self.entries.len() as u32;
        self.entries.push(entry.clone());
        self.indices.insert(entry, index);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::FrameKind;

    /// What a sample says, free of tables.
    type Told = (String, String, u32, u32, Vec<String>, u64);

    /// One process with one thread per `(service, pid, tid, functions, count)`.
    fn profile(start_s: u64, period_ns: u64, samples: &[(&str, u32, u32, &[&str], u64)]) -> Profile {
        let mut profile = Profile {
            start_unix_ns: start_s * 1_000_000_000,
            duration_ns: 10_000_000_000,
            period_ns,
            mappings: vec![Mapping { path: "/bin/a".into(), build_id: "".into() }],
            ..Profile::default()
        };
        for &(service, pid, tid, functions, count) in samples {
            let first = profile.locations.len() as u32;
            for &name in functions {
                let address = 1 + name.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
                let lines = Box::from([Line { function: profile.functions.len() as u32, line: 3 }]);
                profile.functions.push(Function { name: name.into(), system_name: name.into(), file: "".into() });
                profile.locations.push(Location { mapping: 0, address, kind: FrameKind::Native, lines });
            }
            let sample = Sample { stack: profile.stacks.len() as u32, thread: profile.threads.len() as u32, count };
            profile.stacks.push((first..profile.locations.len() as u32).collect());
            let process = profile.processes.len() as u32;
            profile.processes.push(Process { pid, start_ns: 5, name: "a".into() });
            profile.threads.push(Thread { process, tid, name: format!("t{start_s}").into() });
            let labels = vec![("k".into(), "v".into())];
            profile.services.push(Service { name: service.into(), labels, samples: vec![sample] });
        }
        profile
    }

    fn told(profile: &Profile) -> Vec<Told> {
        let mut told = Vec::new();
        for service in &profile.services {
            for sample in &service.samples {
                let thread = &profile.threads[sample.thread as usize];
                let frames = profile.stacks[sample.stack as usize].iter().flat_map(|&location| {
                    let lines = profile.locations[location as usize].lines.iter();
                    lines.map(|line| profile.functions[line.function as usize].name.to_string())
                });
                told.push((
                    service.name.to_string(),
                    thread.name.to_string(),
                    profile.processes[thread.process as usize].pid,
                    thread.tid,
                    frames.collect(),
                    sample.count,
                ));
            }
        }
        told
    }

    #[test]
    fn sums_equal_stacks_of_equal_threads() {
        let first = profile(100, 10, &[("s", 1, 1, &["leaf", "main"], 3), ("s", 1, 2, &["leaf", "main"], 5)]);
        let second = profile(110, 10, &[("s", 1, 1, &["leaf", "main"], 4), ("t", 1, 1, &["main"], 1)]);
        let merged = merge([&first, &second]);
        let frames = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            told(&merged),
            [
                ("s".into(), "t100".into(), 1, 1, frames(&["leaf", "main"]), 7),
                ("s".into(), "t100".into(), 1, 2, frames(&["leaf", "main"]), 5),
                ("t".into(), "t100".into(), 1, 1, frames(&["main"]), 1),
            ]
        );
        assert_eq!((merged.start_unix_ns, merged.duration_ns), (100_000_000_000, 20_000_000_000));
        assert_eq!((merged.mappings.len(), merged.functions.len(), merged.locations.len()), (1, 2, 2));
        assert_eq!((merged.stacks.len(), merged.processes.len(), merged.threads.len()), (2, 1, 2));
        assert_eq!(merged.period_ns, 10);
    }

    #[test]
    fn merging_in_steps_is_merging_at_once() {
        let windows = [
            profile(100, 12, &[("s", 1, 1, &["a"], 3)]),
            profile(130, 18, &[("s", 1, 1, &["a"], 5), ("t", 2, 2, &["b", "a"], 1)]),
            profile(110, 12, &[("s", 1, 1, &["a"], 7)]),
        ];
        let stepwise = merge([&merge([&windows[0], &windows[1]]), &windows[2]]);
        let at_once = merge(&windows);
        assert_eq!(stepwise, at_once);
        assert_eq!((at_once.start_unix_ns, at_once.duration_ns), (100_000_000_000, 40_000_000_000));
        assert_eq!(merge([&at_once]), at_once);
    }

    #[test]
    fn differing_periods_keep_cpu_time_exact() {
        let periods = [10_101_010, 52_631_578, 1_003_009];
        let windows = periods.map(|period| profile(100, period, &[("s", 1, 1, &["a"], 7), ("t", 2, 2, &["b"], 11)]));
        let merged = merge(&windows);
        assert_eq!(merged.period_ns, 1);
        for (service, count) in merged.services.iter().zip([7, 11]) {
            assert_eq!(service.sample_count() * merged.period_ns, periods.iter().sum::<u64>() * count);
        }
        let twice = merge([&profile(1, 20, &[("s", 1, 1, &["a"], 3)]), &profile(1, 10, &[("s", 1, 1, &["a"], 1)])]);
        assert_eq!((twice.period_ns, twice.sample_count()), (10, 7));
    }

    #[test]
    fn nothing_merged_is_empty() {
        assert_eq!(merge([]), Profile::default());
        let window = profile(100, 10, &[("s", 1, 1, &["a"], 3)]);
        assert_eq!(merge([&Profile::default(), &window, &Profile::default()]), merge([&window]));
    }

    #[test]
    fn services_differ_by_labels() {
        let first = profile(100, 10, &[("s", 1, 1, &["a"], 3)]);
        let mut second = first.clone();
        second.services[0].labels.clear();
        assert_eq!(merge([&first, &second]).services.len(), 2);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let first = profile(100, 10, &[("s", 1, 1, &["a"], 3)]);
        let mut second = first.clone();
        second.processes[0].start_ns = 6;
        assert_eq!(merge([&first, &second]).threads.len(), 2);
    }

    #[test]
    fn filter_keeps_only_what_is_selected() {
        let all = profile(100, 10, &[("s", 1, 1, &["a"], 3), ("s", 1, 2, &["b"], 5), ("t", 7, 7, &["c"], 9)]);
        let count = |service: Option<&str>, pid, tid| {
            let selection = Selection { service: service.map(str::to_owned), pid, tid };
            let part = filter(&all, &selection);
            assert_eq!((part.start_unix_ns, part.duration_ns, part.period_ns), (100_000_000_000, 10_000_000_000, 10));
            (part.sample_count(), part.functions.len())
        };
        assert_eq!(count(None, None, None), (17, 3));
        assert_eq!(count(Some("s"), None, None), (8, 2));
        assert_eq!(count(None, Some(1), None), (8, 2));
        assert_eq!(count(Some("s"), Some(1), Some(2)), (5, 1));
        assert_eq!(count(Some("s"), Some(7), None), (0, 0));
        assert_eq!(count(None, None, Some(7)), (9, 1));
    }
}
