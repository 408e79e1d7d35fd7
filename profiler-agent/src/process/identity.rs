//! Who a process is: from `/proc` while it lives, else from what is left of it.

use super::mapping::{Mapping, Mappings};
use super::service::{Facts, NameSource};
use super::table::ProcessKey;
use super::{maps, proc, service};
use crate::container::{self, Container};
use std::sync::Arc;

/// `/proc/PID/stat` counts in hundredths of a second (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// What samples of a process are labelled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `service.name`, by what the process says itself.
    pub service: Arc<str>,
    /// What said that.
    pub source: Option<NameSource>,
    /// Further labels, sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Name of the executable, or of the kernel thread.
    pub name: Arc<str>,
    /// The container that it is in.
    pub container: Option<Arc<Container>>,
}

/// All kernel threads are one service.
pub(super) fn of_kernel_thread(name: String) -> Arc<Identity> {
    Arc::new(Identity {
        service: Arc::from("kernel"),
        source: None,
        labels: Vec::new(),
        name: Arc::from(name),
        container: None,
    })
}

/// How processes get their names.
#[derive(Clone, Debug)]
pub struct Naming {
    sources: Vec<NameSource>,
    /// Unix time minus CLOCK_MONOTONIC, in nanoseconds.
    unix_offset_ns: i128,
}

impl Naming {
    /// Asks these sources in turn.
    #[must_use]
    pub fn new(sources: Vec<NameSource>) -> Self {
        Self { sources, unix_offset_ns: unix_offset_ns() }
    }

    /// Of a process that lives; none when it is gone, or when the pid is another's by now.
    pub(super) fn of_live(&self, key: ProcessKey) -> Option<Arc<Identity>> {
        self.with_facts(key, |facts| {
            let labels = service::labels(facts.environ);
            let (service, source) = service::service_name(facts, &self.sources);
            Arc::new(Identity {
                service: Arc::from(service),
                source,
                labels: labels.into_iter().map(|(key, value)| (Arc::from(key), Arc::from(value))).collect(),
                name: Arc::from(service::exe_name(facts.exe)),
                container: container::parse(facts.cgroup).map(Arc::new),
            })
        })
    }

    /// What each source says of a process that lives; the first that says something names it.
    pub(crate) fn answers(&self, key: ProcessKey) -> Option<Vec<(NameSource, Option<String>)>> {
        self.with_facts(key, |facts| service::answers(facts, &self.sources))
    }

    fn with_facts<T>(&self, key: ProcessKey, say: impl FnOnce(&Facts<'_>) -> T) -> Option<T> {
        let exe = proc::exe(key.tgid)?;
        let environ = proc::environ(key.tgid).unwrap_or_default();
        let cmdline = proc::cmdline(key.tgid).unwrap_or_default();
        let cgroup = proc::cgroup(key.tgid).unwrap_or_default();
        let said = say(&Facts { environ: &environ, cmdline: &cmdline, cgroup: &cgroup, exe: &exe });
        // Read first, checked last: nobody else can have had the pid in between.
        self.lives(key).then_some(said)
    }

    /// Of a process that is gone: called by its executable, and in the container that others of its cgroup are in.
    pub(super) fn of_dead(&self, executable: Option<&Mapping>, container: Option<Arc<Container>>) -> Arc<Identity> {
        let name: Arc<str> = Arc::from(service::exe_name(executable.map_or("", |mapping| &mapping.path)));
        let service = Arc::clone(&name);
        Arc::new(Identity { service, source: Some(NameSource::Exe), labels: Vec::new(), name, container })
    }

    /// Mappings of a process that lives.
    pub(super) fn mappings(&self, key: ProcessKey) -> Option<Mappings> {
        let text = proc::maps(key.tgid)?;
        self.lives(key).then(|| maps::parse(&text))
    }

    /// Whether the process still lives.
    pub(crate) fn lives(&self, key: ProcessKey) -> bool {
        proc::start_ticks(key.tgid).is_some_and(|ticks| ticks.abs_diff(key.start_ns / TICK_NS) <= 1)
    }

    /// Unix seconds of a time of CLOCK_MONOTONIC.
    pub(super) fn unix_seconds(&self, monotonic_ns: u64) -> Option<i64> {
        i64::try_from((i128::from(monotonic_ns) + self.unix_offset_ns) / 1_000_000_000).ok()
    }
}

fn unix_offset_ns() -> i128 {
    let nanoseconds = |clock| {
        let time = rustix::time::clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    nanoseconds(rustix::time::ClockId::Realtime) - nanoseconds(rustix::time::ClockId::Monotonic)
}
