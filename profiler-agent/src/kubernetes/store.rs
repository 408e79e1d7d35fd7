//! The pods of this node, those that ended lately among them.
//!
//! kube's own store forgets a pod with its end, but its last samples are named later: hence this one.

use super::pod::Pod;
use super::problem::Resource;
use crate::container::Container;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a pod that is gone is remembered: its last window, and a list that was late.
const REMEMBER: Duration = Duration::from_secs(300);
/// Pods at most. kubelet runs 110 unless told otherwise; those gone make room first.
const MAX_PODS: usize = 4096;
/// Namespaces with annotations at most.
const MAX_NAMESPACES: usize = 16_384;

/// Pods by what cgroups say of processes.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pods: HashMap<Arc<str>, Known>,
    /// Uids by the ids of containers.
    containers: HashMap<Arc<str>, Arc<str>>,
    /// Annotations of namespaces.
    namespaces: HashMap<String, Arc<BTreeMap<String, String>>>,
    /// What has come as a whole, or never will.
    listed: Listed,
    /// Counts the lists, so that what a new one lacks is known to be gone.
    list: u64,
    /// Grows with every change.
    version: u64,
    /// When it grew last.
    changed: Option<Instant>,
}

#[derive(Debug, Default)]
struct Listed {
    pods: bool,
    namespaces: bool,
}

#[derive(Debug)]
struct Known {
    pod: Arc<Pod>,
    /// The last list, or the change after it, that had the pod.
    list: u64,
    gone: Option<Instant>,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod that a container is of.
    #[must_use]
    pub fn find(&self, container: &Container) -> Option<Arc<Pod>> {
        let state = self.lock();
        let by_id = container.ids.iter().find_map(|id| state.containers.get(id));
        let known = state.pods.get(by_id.or(container.pod_uid.as_ref())?)?;
        Some(Arc::clone(&known.pod))
    }

    /// Annotations of a namespace; empty when none are known.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Arc<BTreeMap<String, String>> {
        self.lock().namespaces.get(name).cloned().unwrap_or_default()
    }

    /// A number that is another one after every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// When something changed last; `otherwise` where nothing has.
    #[must_use]
    pub fn changed(&self, otherwise: Instant) -> Instant {
        self.lock().changed.unwrap_or(otherwise)
    }

    /// Whether all pods and namespaces are known that may be.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        let state = self.lock();
        state.listed.pods && state.listed.namespaces
    }

    /// The agent has no right to see these: nobody need wait for them.
    pub(super) fn give_up(&self, resource: Resource) {
        let mut state = self.lock();
        match resource {
            Resource::Pods => state.listed.pods = true,
            Resource::Namespaces => state.listed.namespaces = true,
        }
    }

    /// All pods that are there.
    #[must_use]
    pub fn living(&self) -> Vec<Arc<Pod>> {
        let state = self.lock();
        state.pods.values().filter(|known| known.gone.is_none()).map(|known| Arc::clone(&known.pod)).collect()
    }

    /// A pod is there, or has changed; whether there is room for it.
    pub(super) fn put(&self, mut pod: Pod, now: Instant) -> bool {
        let mut state = self.lock();
        state.change();
        state.forget(now);
        if let Some(known) = state.pods.get(&pod.uid) {
            pod.inherit(&known.pod);
        } else if state.pods.len() >= MAX_PODS && !state.make_room() {
            return false;
        }
        for (id, _) in &pod.ids {
            state.containers.insert(Arc::clone(id), Arc::clone(&pod.uid));
        }
        let list = state.list;
        state.pods.insert(Arc::clone(&pod.uid), Known { pod: Arc::new(pod), list, gone: None });
        true
    }

    /// A pod is gone.
    pub(super) fn remove(&self, uid: &str, now: Instant) {
        let mut state = self.lock();
        state.change();
        if let Some(known) = state.pods.get_mut(uid) {
            known.gone.get_or_insert(now);
        }
        state.forget(now);
    }

    /// All pods come anew.
    pub(super) fn begin_list(&self) {
        self.lock().list += 1;
    }

    /// They have come: what was not among them is gone.
    pub(super) fn end_list(&self, now: Instant) {
        let mut state = self.lock();
        state.change();
        state.listed.pods = true;
        let list = state.list;
        state.pods.values_mut().filter(|known| known.list != list).for_each(|known| {
            known.gone.get_or_insert(now);
        });
        state.forget(now);
    }

    /// A namespace has these annotations; none when it is gone.
    pub(super) fn set_namespace(&self, name: &str, annotations: Option<BTreeMap<String, String>>) {
        let mut state = self.lock();
        state.change();
        match annotations.filter(|annotations| !annotations.is_empty()) {
            Some(annotations) if state.namespaces.len() < MAX_NAMESPACES || state.namespaces.contains_key(name) => {
                state.namespaces.insert(name.to_owned(), Arc::new(annotations));
            }
            _ => drop(state.namespaces.remove(name)),
        }
    }

    /// Keeps those namespaces alone.
    pub(super) fn retain_namespaces(&self, listed: &std::collections::HashSet<String>) {
        let mut state = self.lock();
        state.change();
        state.listed.namespaces = true;
        state.namespaces.retain(|name, _| listed.contains(name));
    }
}

impl State {
    fn change(&mut self) {
        self.version += 1;
        self.changed = Some(Instant::now());
    }

    /// Forgets those gone long enough.
    fn forget(&mut self, now: Instant) {
        self.drop_pods(|known| known.gone.is_some_and(|gone| now.saturating_duration_since(gone) > REMEMBER));
    }

    /// Forgets all that are gone; whether that made room.
    fn make_room(&mut self) -> bool {
        self.drop_pods(|known| known.gone.is_some());
        self.pods.len() < MAX_PODS
    }

    fn drop_pods(&mut self, goes: impl Fn(&Known) -> bool) {
        let Self { pods, containers, .. } = self;
        let before = pods.len();
        pods.retain(|_, known| !goes(known));
        if pods.len() < before {
            containers.retain(|_, uid| pods.contains_key(uid));
        }
    }
}
