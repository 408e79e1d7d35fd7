//! Who used the CPU: services, their processes, their threads. A function from values to values.

use crate::profile::Profile;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Processes shown per service, largest first.
const MAX_PROCESSES: usize = 100;

/// Threads shown per process, largest first.
const MAX_THREADS: usize = 50;

/// Processes and threads counted apart per service; a fork storm makes no end of them.
const MAX_COUNTED: usize = 50_000;

/// What profiles of a span of time add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Samples.
    pub samples: u64,
    /// CPU nanoseconds.
    pub cpu_ns: u64,
    /// Time in which samples were taken, in nanoseconds.
    pub covered_ns: u64,
    /// Largest first.
    pub services: Vec<ServiceTotal>,
}

/// A service's part.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServiceTotal {
    /// `service.name`. Hostile text.
    pub name: Arc<str>,
    /// Labels of its latest series. Hostile text.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// CPU nanoseconds.
    pub cpu_ns: u64,
    /// Largest first, at most [`MAX_PROCESSES`].
    pub processes: Vec<ProcessTotal>,
    /// Processes left out.
    pub more_processes: usize,
}

/// A process's part.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ProcessTotal {
    /// Process id on the host.
    pub pid: u32,
    /// Name. Hostile text.
    pub name: Arc<str>,
    /// CPU nanoseconds.
    pub cpu_ns: u64,
    /// Largest first, at most [`MAX_THREADS`].
    pub threads: Vec<ThreadTotal>,
    /// Threads left out.
    pub more_threads: usize,
}

/// A thread's part.
#[derive(Debug, PartialEq, Eq)]
pub struct ThreadTotal {
    /// Thread id on the host.
    pub tid: u32,
    /// Latest name. Hostile text.
    pub name: Arc<str>,
    /// CPU nanoseconds.
    pub cpu_ns: u64,
}

/// Adds up all profiles.
pub fn services(profiles: impl IntoIterator<Item = Profile>) -> Services {
    let mut sum = Services::default();
    let mut growing: HashMap<Arc<str>, GrowingService> = HashMap::new();
    for profile in profiles {
        sum.covered_ns += profile.duration_ns;
        for service in &profile.services {
            let total = growing.entry(Arc::clone(&service.name)).or_default();
            total.labels.clone_from(&service.labels);
            for sample in &service.samples {
                sum.samples += sample.count;
                total.add(&profile, sample.thread, sample.count.saturating_mul(profile.period_ns));
            }
        }
    }
    sum.services = growing.into_iter().map(|(name, service)| service.finish(name)).collect();
    sum.services.sort_by(|a, b| (Reverse(a.cpu_ns), &a.name).cmp(&(Reverse(b.cpu_ns), &b.name)));
    sum.cpu_ns = sum.services.iter().map(|service| service.cpu_ns).sum();
    sum
}

/// Pid and start time.
type ProcessKey = (u32, u64);

/// Latest name and CPU nanoseconds.
type Named = (Arc<str>, u64);

#[derive(Default)]
struct GrowingService {
    labels: Vec<(Arc<str>, Arc<str>)>,
    cpu_ns: u64,
    processes: HashMap<ProcessKey, Named>,
    /// By process and tid.
    threads: HashMap<(ProcessKey, u32), Named>,
    /// Processes past [`MAX_COUNTED`], as far as that many are remembered.
    uncounted: HashSet<ProcessKey>,
}

impl GrowingService {
    fn add(&mut self, profile: &Profile, thread: u32, cpu_ns: u64) {
        self.cpu_ns += cpu_ns;
        let thread = &profile.threads[thread as usize];
        let process = &profile.processes[thread.process as usize];
        let key = (process.pid, process.start_ns);
        if self.threads.len() >= MAX_COUNTED && !self.threads.contains_key(&(key, thread.tid)) {
            if !self.processes.contains_key(&key) && self.uncounted.len() < MAX_COUNTED {
                self.uncounted.insert(key);
            }
            return;
        }
        let total = self.processes.entry(key).or_insert_with(|| (Arc::clone(&process.name), 0));
        total.0 = Arc::clone(&process.name);
        total.1 += cpu_ns;
        let total = self.threads.entry((key, thread.tid)).or_insert_with(|| (Arc::clone(&thread.name), 0));
        total.0 = Arc::clone(&thread.name);
        total.1 += cpu_ns;
    }

    fn finish(self, name: Arc<str>) -> ServiceTotal {
        let all = self.processes.len() + self.uncounted.len();
        let mut processes: Vec<_> = self.processes.into_iter().collect();
        processes.sort_by_key(|&(key, (_, cpu_ns))| (Reverse(cpu_ns), key));
        processes.truncate(MAX_PROCESSES);
        let mut threads: HashMap<ProcessKey, Vec<ThreadTotal>> =
            processes.iter().map(|(key, _)| (*key, Vec::new())).collect();
        for ((process, tid), (name, cpu_ns)) in self.threads {
            if let Some(threads) = threads.get_mut(&process) {
                threads.push(ThreadTotal { tid, name, cpu_ns });
            }
        }
        let more_processes = all - processes.len();
        let processes = processes
            .into_iter()
            .map(|(key, (name, cpu_ns))| {
                let mut threads = threads.remove(&key).unwrap_or_default();
                threads.sort_by_key(|thread| (Reverse(thread.cpu_ns), thread.tid));
                let more_threads = threads.len().saturating_sub(MAX_THREADS);
                threads.truncate(MAX_THREADS);
                ProcessTotal { pid: key.0, name, cpu_ns, threads, more_threads }
            })
            .collect();
        ServiceTotal { name, labels: self.labels, cpu_ns: self.cpu_ns, processes, more_processes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Process, Sample, Service, Thread};

    /// One service with one single-threaded process per (pid, count).
    fn profile(service: &str, processes: &[(u32, u64)]) -> Profile {
        let sample = |(thread, &(_, count)): (usize, &(u32, u64))| Sample { stack: 0, thread: thread as u32, count };
        Profile {
            duration_ns: 100,
            period_ns: 10,
            stacks: vec![Box::new([])],
            processes: processes.iter().map(|&(pid, _)| Process { pid, start_ns: 5, name: "p".into() }).collect(),
            threads: (0..processes.len() as u32)
                .map(|process| Thread { process, tid: processes[process as usize].0, name: "t".into() })
                .collect(),
            services: vec![Service {
                name: service.into(),
                labels: vec![],
                samples: processes.iter().enumerate().map(sample).collect(),
            }],
            ..Profile::default()
        }
    }

    #[test]
    fn adds_up_over_windows_largest_first() {
        let sum = services([profile("a", &[(1, 2), (2, 3)]), profile("b", &[(3, 9)]), profile("a", &[(1, 2)])]);
        assert_eq!((sum.samples, sum.cpu_ns, sum.covered_ns), (16, 160, 300));
        let names: Vec<_> = sum.services.iter().map(|service| (&*service.name, service.cpu_ns)).collect();
        assert_eq!(names, [("b", 90), ("a", 70)]);
        let processes: Vec<_> = sum.services[1].processes.iter().map(|p| (p.pid, p.cpu_ns)).collect();
        assert_eq!(processes, [(1, 40), (2, 30)]);
        assert_eq!(sum.services[1].processes[0].threads, [ThreadTotal { tid: 1, name: "t".into(), cpu_ns: 40 }]);
    }

    #[test]
    fn a_fork_storm_is_cut_and_still_adds_up() {
        let pids: Vec<(u32, u64)> = (1..=300).map(|pid| (pid, u64::from(pid))).collect();
        let sum = services([profile("storm", &pids)]);
        let storm = &sum.services[0];
        assert_eq!((storm.processes.len(), storm.more_processes), (MAX_PROCESSES, 200));
        assert_eq!(storm.processes[0].pid, 300);
        assert_eq!(storm.cpu_ns, 300 * 301 / 2 * 10);
    }
}
