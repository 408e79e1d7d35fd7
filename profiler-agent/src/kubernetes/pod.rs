//! One pod as names need it.

use super::object::{ContainerSpec, PodObject};
use super::owner::{self, Owner};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Containers of a pod that are remembered, those that have ended among them.
const MAX_IDS: usize = 64;
/// Labels or annotations; the API server allows 256 KiB of annotations.
const MAX_PAIRS: usize = 256;
/// Bytes of a value; longer annotations are configuration, no names.
const MAX_VALUE_BYTES: usize = 1024;

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// As cgroups have it: that of the API server, or for a static pod the hash of its file.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub node: Option<String>,
    /// What owns it.
    pub owner: Owner,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations, without long ones.
    pub annotations: BTreeMap<String, String>,
    /// Its containers, those for its start and for debugging last.
    pub containers: Vec<PodContainer>,
    /// Whether none of them will run again.
    pub ended: bool,
    /// Ids of containers, and the places of what they run in `containers`.
    pub ids: Vec<(Arc<str>, usize)>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// Its name.
    pub name: String,
    /// Its image as asked for.
    pub image: Option<String>,
}

/// kubelet's names for what it knows of a static pod; its mirror at the API server has another uid.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

impl Pod {
    /// None for an object without the names that all have.
    pub(super) fn read(object: &PodObject) -> Option<Self> {
        let meta = &object.metadata;
        let labels = bounded(meta.labels.as_ref());
        let annotations = bounded(meta.annotations.as_ref());
        let name = meta.name.clone()?;
        let references = meta.owner_references.as_deref().unwrap_or_default();
        let controller = references.iter().find(|owner| owner.controller == Some(true));
        let owner = owner::find(&owner::Facts {
            pod_name: &name,
            controller: controller.map(|owner| (owner.kind.as_str(), owner.name.as_str())),
            created_unix_s: meta.creation_timestamp.as_ref().map(|time| time.0.as_second()),
            label: &|label| labels.get(label).map(String::as_str),
        });
        let spec = &object.spec;
        let specs = [&spec.containers, &spec.init_containers, &spec.ephemeral_containers].into_iter().flatten();
        let container = |spec: &ContainerSpec| PodContainer { name: spec.name.clone(), image: spec.image.clone() };
        let containers: Vec<PodContainer> = specs.take(MAX_IDS).map(container).collect();
        Some(Self {
            uid: Arc::from(annotations.get(CONFIG_HASH).or(meta.uid.as_ref())?.as_str()),
            namespace: meta.namespace.clone()?,
            node: spec.node_name.clone(),
            ended: object.status.as_ref().is_some_and(|status| matches!(&*status.phase, "Succeeded" | "Failed")),
            ids: ids(object, &containers),
            name,
            owner,
            labels,
            annotations,
            containers,
        })
    }

    /// The container with an id; the only one of a pod that has one, as its id is told later than it starts.
    #[must_use]
    pub fn container(&self, ids: &[Arc<str>]) -> Option<&PodContainer> {
        let known = ids.iter().find_map(|id| self.ids.iter().find(|(known, _)| known == id));
        match known {
            Some((_, place)) => self.containers.get(*place),
            None => self.containers.first().filter(|_| self.containers.len() == 1),
        }
    }

    /// Remembers what ids an older record of the same pod had.
    pub(super) fn inherit(&mut self, older: &Self) {
        for (id, place) in &older.ids {
            let same = older
                .containers
                .get(*place)
                .and_then(|old| self.containers.iter().position(|new| new.name == old.name));
            if let Some(place) = same
                && self.ids.len() < MAX_IDS
                && !self.ids.iter().any(|(known, _)| known == id)
            {
                self.ids.push((Arc::clone(id), place));
            }
        }
    }
}

fn ids(object: &PodObject, containers: &[PodContainer]) -> Vec<(Arc<str>, usize)> {
    let Some(status) = &object.status else { return Vec::new() };
    let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let mut ids: Vec<(Arc<str>, usize)> = Vec::new();
    for status in all.into_iter().flatten() {
        let Some(place) = containers.iter().position(|container| container.name == status.name) else { continue };
        for id in status.ids() {
            if ids.len() < MAX_IDS && !ids.iter().any(|(known, _)| **known == *id) {
                ids.push((Arc::from(id), place));
            }
        }
    }
    ids
}

/// Labels or annotations that may be names.
pub(super) fn bounded(pairs: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let short = |(_, value): &(&String, &String)| value.len() <= MAX_VALUE_BYTES;
    pairs.into_iter().flatten().filter(short).take(MAX_PAIRS).map(|(key, value)| (key.clone(), value.clone())).collect()
}
