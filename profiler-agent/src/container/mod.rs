//! Which container a process is in, by the names of its cgroups.
//!
//! Input: the text of `/proc/PID/cgroup`. Output: the ids of the containers around the process, and the pod they are of.
//! Invariant: a function of the text alone, bounded by its length; runtimes and kubelet choose the names, and whoever may
//! make cgroups can choose them, too: what is found here names processes, it grants nothing.

pub(crate) mod image;
mod part;
#[cfg(test)]
mod tests;

use part::Part;
use std::sync::Arc;

/// Lines looked at: one per hierarchy, of which kernels have some fifteen.
const MAX_LINES: usize = 64;
/// Containers around each other.
const MAX_NESTED: usize = 4;

/// A runtime that runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the programs")]
pub enum Runtime {
    Containerd,
    CriO,
    Docker,
    Podman,
}

impl Runtime {
    /// As its makers write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// Where a process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// Ids of 64 hexadecimal digits, the innermost first; at least one, or there is a pod.
    pub ids: Vec<Arc<str>>,
    /// The innermost pod, as the API server writes its uid.
    pub pod_uid: Option<Arc<str>>,
}

impl Container {
    /// The container of the process itself.
    #[must_use]
    pub fn id(&self) -> Option<&Arc<str>> {
        self.ids.first()
    }
}

/// The container of a process; none when it is in none.
#[must_use]
pub fn parse(cgroup: &str) -> Option<Container> {
    best(cgroup).map(|(_, found)| found)
}

/// What runs the innermost container, where its cgroup says so.
#[must_use]
pub fn runtime(cgroup: &str) -> Option<Runtime> {
    let mut parts = best(cgroup)?.0.rsplit('/').peekable();
    while let Some(name) = parts.next() {
        if let Some(Part { id: Some(_), runtime, .. }) = part::read(name) {
            return runtime.or_else(|| (parts.peek() == Some(&"docker")).then_some(Runtime::Docker));
        }
    }
    None
}

/// The pod whose cgroup has this name.
#[must_use]
pub fn pod_uid(name: &str) -> Option<String> {
    part::read(name)?.pod_uid
}

/// The path that says most: a process need not be in the container's cgroup in every hierarchy.
fn best(cgroup: &str) -> Option<(&str, Container)> {
    let mut best: Option<(&str, Container)> = None;
    let says = |found: &Container| (found.pod_uid.is_some(), found.ids.len());
    for path in paths(cgroup) {
        let found = container(path);
        if says(&found) > best.as_ref().map_or((false, 0), |(_, best)| says(best)) {
            best = Some((path, found));
        }
    }
    best
}

/// Paths of `hierarchy:controllers:path`, a line each. A cgroup that was removed is marked.
fn paths(cgroup: &str) -> impl Iterator<Item = &str> {
    let path = |line: &'_ str| -> Option<(usize, usize)> {
        let controllers = line.find(':')? + 1;
        let path = controllers + line.get(controllers..)?.find(':')? + 1;
        Some((path, line.strip_suffix(" (deleted)").unwrap_or(line).len()))
    };
    cgroup.lines().take(MAX_LINES).filter_map(move |line| path(line).and_then(|(start, end)| line.get(start..end)))
}

fn container(path: &str) -> Container {
    let mut found = Container { ids: Vec::new(), pod_uid: None };
    for part in path.rsplit('/').filter_map(part::read) {
        if let Some(id) = part.id
            && found.ids.len() < MAX_NESTED
        {
            found.ids.push(Arc::from(id));
        }
        if found.pod_uid.is_none() {
            found.pod_uid = part.pod_uid.map(Arc::from);
        }
    }
    found
}
