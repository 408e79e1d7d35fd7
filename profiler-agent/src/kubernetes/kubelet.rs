//! The kubelet's list of pods, for as long as the API server tells of none.
//!
//! `GET /pods` wants the right to get `nodes/pods`, and nothing more. The kubelet knows no watch: its list is read again and
//! again, and stands for one of the API server's.

use super::access::{Access, NoAccess};
use super::object::PodObject;
use super::pod::Pod;
use super::problem::{Problem, chain};
use super::store::Store;
use crate::telemetry::metrics::{Metric, Metrics};
use kube::core::ObjectList;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(10);

/// Asks for as long as it is polled, whenever `wanted` says that pods are not told otherwise.
pub(super) async fn run(
    access: &Access,
    store: &Arc<Store>,
    metrics: &Metrics,
    wanted: &AtomicBool,
    changed: &impl Fn(),
) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        if !wanted.load(Ordering::Relaxed) {
            said.clear();
            continue;
        }
        let told = match list(access).await {
            Ok(pods) => {
                take(store, pods);
                metrics.set(Metric::KubernetesPods, "", store.living().len() as f64);
                changed();
                format!("Kubernetes: pods are those that the kubelet at {} tells of", access.kubelet_url)
            }
            Err(error) => {
                metrics.add(Metric::KubernetesErrors, "kubelet", 1);
                format!("Kubernetes: the kubelet at {} tells of no pods: {error}", access.kubelet_url)
            }
        };
        if told != said {
            tracing::warn!("{told}");
            said = told;
        }
    }
}

async fn list(access: &Access) -> Result<Vec<PodObject>, String> {
    let client = access.kubelet().map_err(|error: NoAccess| error.to_string())?;
    let request = http::Request::get("/pods").body(Vec::new()).map_err(|error| error.to_string())?;
    let list = tokio::time::timeout(PAUSE, client.request::<ObjectList<PodObject>>(request)).await;
    match list {
        Ok(Ok(list)) => Ok(list.items),
        Ok(Err(error)) => Err(match Problem::of_client(&error) {
            Problem::Forbidden(_) => "403: grant get of nodes/pods to the agent's service account".to_owned(),
            Problem::Unauthorized => "401: it does not accept the agent's token".to_owned(),
            Problem::Refused(_) | Problem::Expired | Problem::Unreachable(_) => chain(&error),
        }),
        Err(_) => Err(format!("no answer within {} s", PAUSE.as_secs())),
    }
}

fn take(store: &Store, pods: Vec<PodObject>) {
    let now = Instant::now();
    store.begin_list();
    for pod in pods.iter().filter_map(Pod::read) {
        store.put(pod, now);
    }
    store.end_list(now);
}
