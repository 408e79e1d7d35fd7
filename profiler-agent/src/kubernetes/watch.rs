//! Watches this node's pods, and the annotations of all namespaces.

use super::access::{Access, NoAccess};
use super::kubelet;
use super::object::PodObject;
use super::pod::{Pod, bounded};
use super::problem::{Problem, Resource};
use super::store::Store;
use crate::telemetry::metrics::{Metric, Metrics};
use futures_util::{Stream, TryStreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Pod as AnyPod};
use kube::api::{Api, ApiResource, PartialObjectMeta};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, watcher::Error};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two tries to use a service account that is not there yet.
const NO_CLIENT_PAUSE: Duration = Duration::from_secs(10);

/// Watches for as long as it is polled.
pub(super) async fn run(access: Access, store: Arc<Store>, metrics: Arc<Metrics>, changed: &impl Fn()) {
    let mut said = None;
    let client = loop {
        match access.client() {
            Ok(client) => break client,
            Err(error) => {
                metrics.add(Metric::KubernetesErrors, "account", 1);
                if said.as_ref() != Some(&error) {
                    tell(&error);
                    said = Some(error);
                }
            }
        }
        tokio::time::sleep(NO_CLIENT_PAUSE).await;
    };
    let selector = format!("spec.nodeName={}", access.node_name);
    let pods: Api<PodObject> = Api::all_with(client.clone(), &ApiResource::erase::<AnyPod>(&()));
    // Any version will do for a list: the API server has it in memory.
    let pods = watcher(pods, watcher::Config::default().any_semantic().fields(&selector));
    let namespaces =
        watcher(Api::<PartialObjectMeta<Namespace>>::all(client), watcher::Config::default().any_semantic());
    let watching = |resource| Watching {
        resource,
        access: access.clone(),
        metrics: Arc::clone(&metrics),
        problem: None,
        fails: Arc::default(),
    };
    let (of_pods, of_namespaces) = (watching(Resource::Pods), watching(Resource::Namespaces));
    let fails = Arc::clone(&of_pods.fails);
    let kubelet = async {
        if access.asks_kubelet() {
            kubelet::run(&access, &store, &metrics, &fails, changed).await;
        }
    };
    tokio::join!(of_pods.pods(pods, &store, changed), of_namespaces.namespaces(namespaces, &store, changed), kubelet);
}

/// Says why there is no client.
pub(super) fn tell(error: &NoAccess) {
    tracing::warn!(fix = error.fix(), "Kubernetes: {error}: containers are named by their ids");
}

/// How the watch of one resource stands.
struct Watching {
    resource: Resource,
    access: Access,
    metrics: Arc<Metrics>,
    /// What was said last, until it is over.
    problem: Option<&'static str>,
    /// Whether nothing is told at present.
    fails: Arc<AtomicBool>,
}

impl Watching {
    async fn pods(
        mut self,
        events: impl Stream<Item = Result<Event<PodObject>, Error>>,
        store: &Store,
        changed: &impl Fn(),
    ) {
        let events = events.default_backoff();
        pin_mut!(events);
        while let Some(event) = self.next(&mut events, store).await {
            let now = Instant::now();
            // A list is one change.
            let listing = matches!(event, Event::Init | Event::InitApply(_));
            match event {
                Event::Init => store.begin_list(),
                Event::InitApply(object) | Event::Apply(object) => {
                    let room = Pod::read(&object).is_none_or(|pod| store.put(pod, now));
                    self.metrics.add(Metric::KubernetesErrors, "too_many_pods", u64::from(!room));
                }
                Event::Delete(object) => Pod::read(&object).iter().for_each(|pod| store.remove(&pod.uid, now)),
                Event::InitDone => {
                    store.end_list(now);
                    let pods = store.living().len();
                    tracing::info!(node = self.access.node_name, pods, "Kubernetes: watching this node's pods");
                }
            }
            self.metrics.set(Metric::KubernetesPods, "", store.living().len() as f64);
            if !listing {
                changed();
            }
        }
    }

    async fn namespaces(
        mut self,
        events: impl Stream<Item = Result<Event<PartialObjectMeta<Namespace>>, Error>>,
        store: &Store,
        changed: &impl Fn(),
    ) {
        let events = events.default_backoff();
        pin_mut!(events);
        let mut listed = HashSet::new();
        while let Some(event) = self.next(&mut events, store).await {
            let listing = matches!(event, Event::Init | Event::InitApply(_));
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    listed.extend(object.metadata.name.clone());
                    set_namespace(store, &object, true);
                }
                Event::Apply(object) => set_namespace(store, &object, true),
                Event::Delete(object) => set_namespace(store, &object, false),
                Event::InitDone => store.retain_namespaces(&listed),
            }
            if !listing {
                changed();
            }
        }
    }

    /// The next event; errors are counted, and each said once until all is well again.
    async fn next<K>(
        &mut self,
        events: &mut (impl Stream<Item = Result<Event<K>, Error>> + Unpin),
        store: &Store,
    ) -> Option<Event<K>> {
        loop {
            match events.try_next().await {
                Ok(event) => {
                    if matches!(event, Some(Event::InitDone)) {
                        self.fails.store(false, Ordering::Relaxed);
                        if self.problem.take().is_some() {
                            tracing::info!("Kubernetes: {} can be watched again", self.resource.name());
                        }
                    }
                    return event;
                }
                Err(error) => self.fail(&Problem::of(&error), store),
            }
        }
    }

    fn fail(&mut self, problem: &Problem, store: &Store) {
        if matches!(problem, Problem::Forbidden(_)) {
            store.give_up(self.resource);
        }
        self.metrics.add(Metric::KubernetesErrors, problem.label(), 1);
        self.fails.store(!matches!(problem, Problem::Expired), Ordering::Relaxed);
        // An old version is no error: the list begins anew.
        if matches!(problem, Problem::Expired) || self.problem.replace(problem.label()) == Some(problem.label()) {
            return;
        }
        tracing::warn!(
            fix = problem.fix(self.resource),
            "Kubernetes: {}",
            problem.say(self.resource, &self.access.url)
        );
    }
}

fn set_namespace(store: &Store, object: &PartialObjectMeta<Namespace>, lives: bool) {
    if let Some(name) = &object.metadata.name {
        store.set_namespace(name, lives.then(|| bounded(object.metadata.annotations.as_ref())));
    }
}
