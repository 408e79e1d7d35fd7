//! Pods as the API server sends them, as far as they are read here: the rest is never kept.

use kube::core::Object;
use serde::Deserialize;

/// A pod.
pub(super) type PodObject = Object<PodSpec, PodStatus>;

/// `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) node_name: Option<String>,
    pub(super) containers: Vec<ContainerSpec>,
    pub(super) init_containers: Vec<ContainerSpec>,
    pub(super) ephemeral_containers: Vec<ContainerSpec>,
}

/// A container as asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerSpec {
    pub(super) name: String,
    pub(super) image: Option<String>,
}

/// `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    /// `Succeeded` and `Failed` pods run no more.
    pub(super) phase: String,
    pub(super) container_statuses: Vec<ContainerStatus>,
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    pub(super) ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// A container as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    /// `containerd://ID`; empty before it starts.
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
    pub(super) state: ContainerState,
    pub(super) last_state: ContainerState,
}

/// Only the end of a container says which one it was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) terminated: Option<Terminated>,
}

/// A container that has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Terminated {
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
}

impl ContainerStatus {
    /// Ids that the container has or had.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        let ids = [self.container_id.as_deref(), self.state.ended(), self.last_state.ended()];
        ids.into_iter().flatten().filter_map(|id| Some(id.split_once("://")?.1)).filter(|id| !id.is_empty())
    }
}

impl ContainerState {
    fn ended(&self) -> Option<&str> {
        self.terminated.as_ref()?.container_id.as_deref()
    }
}
