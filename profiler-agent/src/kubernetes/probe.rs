//! Whether the API server would tell of pods, for people.

use super::access::{Access, NoAccess};
use super::config::{KubernetesConfig, When};
use super::problem::{Problem, Resource};
use k8s_openapi::api::core::v1::{Namespace, Pod as AnyPod};
use kube::api::{Api, ListParams, PartialObjectMeta};
use std::time::Duration;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pods counted; no node runs more.
const MAX_PODS: u32 = 4096;

/// What is missing, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// One sentence.
    pub(crate) found: String,
    /// One line.
    pub(crate) fix: &'static str,
}

/// Asks once for what the agent would watch.
///
/// # Errors
/// What pods or namespaces cannot be seen for.
pub(crate) async fn probe(config: &KubernetesConfig) -> Result<String, Missing> {
    let access = Access::find(config, |name| std::env::var(name).ok());
    let no_access = |error: NoAccess| Missing { found: error.to_string(), fix: error.fix() };
    let Some(access) = access.map_err(no_access)? else {
        let why = if config.when == When::Off { "off" } else { "the agent is in no pod" };
        return Ok(format!("{why}: no API server is asked for pods"));
    };
    let client = access.client().map_err(no_access)?;
    let asked = async {
        let node = format!("spec.nodeName={}", access.node_name);
        let pods = Api::<PartialObjectMeta<AnyPod>>::all(client.clone());
        let pods = pods.list(&ListParams::default().fields(&node).limit(MAX_PODS)).await;
        let pods = pods.map_err(|error| missing(&error, Resource::Pods, &access))?.items.len();
        let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client).list(&ListParams::default().limit(1)).await;
        namespaces.map_err(|error| missing(&error, Resource::Namespaces, &access))?;
        Ok(format!("{pods} pods of node {} by {}", access.node_name, access.url))
    };
    let late = |_| {
        let problem = Problem::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
        Missing { found: problem.say(Resource::Pods, &access.url), fix: problem.fix(Resource::Pods) }
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
}

fn missing(error: &kube::Error, resource: Resource, access: &Access) -> Missing {
    let problem = Problem::of_client(error);
    Missing { found: problem.say(resource, &access.url), fix: problem.fix(resource) }
}
