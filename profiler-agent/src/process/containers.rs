//! Containers by the ids of their cgroups: who has ended before its first look is named by those that were in the same one.

use crate::container::Container;
use std::collections::HashMap;
use std::sync::Arc;

/// Cgroups remembered; a full node has some thousand.
const MAX_CGROUPS: usize = 16_384;

/// The containers seen so far.
#[derive(Debug, Default)]
pub(super) struct Containers(HashMap<u64, Option<Arc<Container>>>);

impl Containers {
    /// A process of the cgroup is in this container. Ids of cgroups are never used again.
    pub(super) fn note(&mut self, cgroup_id: u64, container: Option<&Arc<Container>>) {
        if cgroup_id == 0 {
            return;
        }
        if self.0.len() >= MAX_CGROUPS {
            self.0.clear();
        }
        self.0.insert(cgroup_id, container.cloned());
    }

    /// The container of a cgroup, where one is known.
    pub(super) fn get(&self, cgroup_id: u64) -> Option<Arc<Container>> {
        self.0.get(&cgroup_id)?.clone()
    }
}
