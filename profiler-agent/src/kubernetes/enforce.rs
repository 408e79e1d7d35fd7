//! Has the kernel programs do what pods say of their sampling.
//!
//! Input: the pods, their cgroups. Output: rules of cgroups, told to the programs; a line in the log once a pod's rule
//! holds, after which no sample is taken that it does not allow. A pod whose cgroup is not there yet is looked for until it
//! is: kubelet makes it before the first container.

use super::cgroups::PodCgroups;
use super::config::KubernetesConfig;
use super::pod::Pod;
use super::rules::decide;
use super::store::Store;
use crate::bpf::{CgroupRules, Rule};
use crate::telemetry::metrics::{Metric, Metrics};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A program that began before a rule was told has ended by then: each runs for microseconds.
const IN_FLIGHT: Duration = Duration::from_millis(2);

/// How long after its start an agent takes no sample in pods while it does not know what they say.
const LIST_PATIENCE: Duration = Duration::from_secs(10);
/// How long kubelet may take to make the cgroup of a pod that it has been given.
const CGROUP_PATIENCE: Duration = Duration::from_secs(60);
/// No version of the pods.
const NEVER: u64 = u64::MAX;

/// What is in force.
pub struct Enforcement {
    store: Arc<Store>,
    config: KubernetesConfig,
    metrics: Arc<Metrics>,
    /// The mounted hierarchy that carries containers.
    root: Option<PathBuf>,
    cgroups: PodCgroups,
    /// Of the pods when they were looked at last.
    version: u64,
    /// By uid: the rule, since when it is known, and whether it holds.
    pods: HashMap<Arc<str>, Stand>,
    /// Until when nothing in pods is sampled unless all are known; none once that is over.
    waits_until: Option<Instant>,
    said_full: bool,
    said_missing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stand {
    rule: Rule,
    since: Instant,
    holds: bool,
}

impl Enforcement {
    /// Nothing is in force yet. Where somebody `tells` of the pods, none is sampled until all are known, for ten seconds
    /// at most: one that says no has no samples from the beginning on.
    #[must_use]
    pub fn new(store: Arc<Store>, config: KubernetesConfig, metrics: Arc<Metrics>, tells: bool) -> Self {
        Self {
            store,
            config,
            metrics,
            root: crate::bpf::offsets::Hierarchies::mounted().container_mount().map(PathBuf::from),
            cgroups: PodCgroups::default(),
            version: NEVER,
            pods: HashMap::new(),
            waits_until: tells.then(|| Instant::now() + LIST_PATIENCE),
            said_full: false,
            said_missing: false,
        }
    }

    /// New programs: they know no rule.
    pub fn begin_anew(&mut self) {
        self.version = NEVER;
        self.pods.values_mut().for_each(|stand| stand.holds = false);
    }

    /// Tells what has changed.
    pub fn look(&mut self, rules: &CgroupRules) {
        let version = self.store.version();
        let waited = self.waits_until.is_some();
        self.waits_until = self.waits_until.filter(|until| Instant::now() < *until && !self.store.is_listed());
        let goes_on = waited && self.waits_until.is_none();
        if version == self.version && !goes_on && self.pods.values().all(|stand| stand.holds) {
            return;
        }
        self.version = version;
        let pods = if self.waits_until.is_some() { Vec::new() } else { self.decide() };
        if pods.iter().any(|pod| !self.cgroups.pods.contains_key(&*pod.uid)) || self.misses_outer() {
            self.cgroups = self.root.as_deref().map(PodCgroups::find).unwrap_or_default();
        }
        match rules.set(&self.wanted()) {
            Ok(0) => {}
            Ok(left) if !std::mem::replace(&mut self.said_full, true) => {
                tracing::error!(left, "more pods with rules of their own than there is room for: the others have none");
            }
            Ok(_) => {}
            Err(error) => return tracing::error!(%error, "the kernel programs cannot be told which pods to sample"),
        }
        self.report(&pods);
    }

    /// Pods with a rule of their own.
    fn decide(&mut self) -> Vec<Arc<Pod>> {
        let common = if self.config.default_enabled { Rule::Sampled } else { Rule::Excluded };
        let now = Instant::now();
        let mut pods = self.store.living();
        let mut stands = HashMap::with_capacity(self.pods.len());
        pods.retain(|pod| {
            if pod.ended {
                return false;
            }
            let rule = decide(pod, &self.store.namespace(&pod.namespace), &self.config);
            let old = self.pods.get(&pod.uid).copied();
            // Who had a rule is told when it has none any more.
            if rule == common && old.is_none_or(|old| old.rule == common) {
                return false;
            }
            let same = old.filter(|old| old.rule == rule);
            stands.insert(
                Arc::clone(&pod.uid),
                same.unwrap_or(Stand { rule, since: self.store.changed(now), holds: false }),
            );
            true
        });
        self.pods = stands;
        pods
    }

    /// Whether pods without a rule of their own are left out.
    fn leaves_others_out(&self) -> bool {
        !self.config.default_enabled || self.waits_until.is_some()
    }

    fn misses_outer(&self) -> bool {
        self.leaves_others_out() && self.cgroups.around.is_empty()
    }

    fn wanted(&self) -> BTreeMap<u64, Rule> {
        let outer = self.cgroups.around.iter().filter(|_| self.leaves_others_out());
        let mut wanted: BTreeMap<u64, Rule> = outer.map(|&id| (id, Rule::Excluded)).collect();
        for (uid, stand) in &self.pods {
            let ids = self.cgroups.pods.get(&**uid).into_iter().flatten();
            wanted.extend(ids.map(|&id| (id, stand.rule)));
        }
        wanted
    }

    fn report(&mut self, pods: &[Arc<Pod>]) {
        let fresh = |stand: &Stand| !stand.holds;
        if self.pods.values().any(fresh) {
            std::thread::sleep(IN_FLIGHT);
        }
        for pod in pods {
            let Some(stand) = self.pods.get_mut(&pod.uid).filter(|stand| fresh(stand)) else { continue };
            if !self.cgroups.pods.contains_key(&*pod.uid) {
                if stand.since.elapsed() > CGROUP_PATIENCE && !std::mem::replace(&mut self.said_missing, true) {
                    tracing::warn!(
                        namespace = pod.namespace,
                        pod = pod.name,
                        fix = "mount the host's /sys/fs/cgroup into the agent's pod, read-only",
                        "the cgroup of a pod is not found: what its annotations say of sampling has no effect"
                    );
                }
                continue;
            }
            stand.holds = true;
            let delay_ms = stand.since.elapsed().as_millis() as u64;
            let (namespace, name) = (pod.namespace.as_str(), pod.name.as_str());
            match stand.rule {
                Rule::Excluded => tracing::info!(namespace, pod = name, delay_ms, "applied: the pod is not sampled"),
                Rule::Sampled => tracing::info!(namespace, pod = name, delay_ms, "applied: the pod is sampled"),
                Rule::Frequency(hz) => {
                    tracing::info!(namespace, pod = name, hz, delay_ms, "applied: the pod is sampled at its frequency");
                }
            }
        }
        let excluded = self.pods.values().filter(|stand| stand.holds && stand.rule == Rule::Excluded).count();
        self.metrics.set(Metric::KubernetesExcluded, "", excluded as f64);
    }
}
