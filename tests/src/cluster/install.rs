//! The agent's chart, a Pyroscope and workloads in the cluster: installed once, by the first test that asks.

use super::objects::{PROFILING, SHOP, cron_job, deployment, job, namespace, pyroscope};
use super::{Cluster, cluster, wait_for};
use crate::agent::Metrics;
use crate::pyroscope::{Pyroscope, arguments, ensure_built};
use crate::workload::{compile_c, http_get};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Samples per second and CPU.
pub const FREQUENCY: u32 = 97;
/// CPU seconds that the Job burns.
pub const JOB_SECONDS: &str = "4";
/// Workloads that say nothing of themselves.
const PLAIN: [&str; 2] = ["web", "cart"];

/// What all tests find.
#[derive(Debug)]
pub struct Installed {
    /// The cluster it is in.
    pub cluster: &'static Cluster,
    /// The server, at its Service's address.
    pub server: Pyroscope,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Cluster, agent, server and workloads of this process.
///
/// # Panics
/// When something cannot be installed.
pub fn installed() -> &'static Installed {
    let cluster = cluster();
    INSTALLED.get_or_init(|| Installed::install(cluster))
}

/// The agent's chart.
#[must_use]
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/profiler-agent")
}

impl Installed {
    fn install(cluster: &'static Cluster) -> Self {
        let folder = tempfile::tempdir().expect("a folder for programs");
        cluster.import_program("burn", &compile_c(folder.path(), "burn.c", &["-static"]));
        cluster.import_program("pyroscope", &ensure_built().expect("a Pyroscope server"));
        cluster.import_agent();
        cluster.apply(&[namespace(PROFILING, "privileged"), namespace(SHOP, "baseline")]);
        let mut flags = arguments(4040, 4041);
        flags.push("-server.http-listen-address=0.0.0.0".to_owned());
        let data = cluster.run.join("pyroscope");
        cluster.apply(&pyroscope(&flags, data.to_str().expect("a path in UTF-8")));
        rolled_out(cluster, "deployment/pyroscope");
        let service = cluster.get(&["service", "pyroscope", "--namespace", PROFILING]);
        let address = format!("{}:4040", service["spec"]["clusterIP"].as_str().expect("a cluster IP"));
        let installed = Self { cluster, server: Pyroscope::elsewhere(&address) };
        installed.helm("install", &[]);
        cluster.apply(&workloads());
        installed
    }

    /// `helm install` or `helm upgrade` of the agent, with more settings; returns when its pod is ready.
    pub fn helm(&self, verb: &str, settings: &[&str]) {
        let chart = chart();
        let endpoint = format!("agent.endpoints[0]={}", self.server.url());
        let spool = format!("spool.hostPath={}", self.cluster.run.join("spool").display());
        let frequency = format!("agent.frequency={FREQUENCY}");
        let mut arguments = vec![verb, "profiler-agent", chart.to_str().expect("a path in UTF-8")];
        arguments.extend(["--namespace", PROFILING, "--wait", "--timeout", "120s"]);
        for setting in [&endpoint, &spool, &frequency] {
            arguments.extend(["--set", setting]);
        }
        // The budget is not what is tested; a build without optimization is above it.
        let common = ["agent.interval=2s", "agent.cpuBudget=100%", "agent.log.format=text", "image.pullPolicy=Never"];
        for setting in common.iter().chain(settings) {
            arguments.extend(["--set", setting]);
        }
        self.cluster.helm(&arguments);
    }

    /// The agent's pods: others of the chart are `helm test`'s and the collector's.
    #[must_use]
    pub fn agent_pods(&self) -> Vec<Value> {
        let selector = "app.kubernetes.io/name=profiler-agent,app.kubernetes.io/component=agent";
        self.cluster.list(&["pods", "--namespace", PROFILING, "--selector", selector])
    }

    /// The agent's pod, when there is one that is ready and no other.
    #[must_use]
    pub fn agent_pod(&self) -> Value {
        wait_for("agent alone and ready", || match self.agent_pods().as_slice() {
            [pod] if is_ready(pod) => Some(pod.clone()),
            _ => None,
        })
    }

    /// The agent's metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Self::metrics_of(&self.agent_pod())
    }

    /// The same of an agent whose server may be away.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn metrics_of(pod: &Value) -> Metrics {
        let address = pod["status"]["podIP"].as_str().expect("its address").to_owned();
        let page = || http_get(&format!("{address}:4041/metrics")).filter(|(status, _)| *status == 200);
        Metrics::parse(&wait_for("metrics", page).1)
    }
}

/// Waits for a controller of [`PROFILING`].
pub fn rolled_out(cluster: &Cluster, what: &str) {
    cluster.kubectl(&["rollout", "status", "--namespace", PROFILING, "--timeout", "120s", what]);
}

/// Whether a pod is ready and stays.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    pod["metadata"]["deletionTimestamp"].is_null() && conditions.iter().any(ready)
}

fn workloads() -> Vec<Value> {
    let mut all: Vec<Value> = PLAIN.iter().map(|name| deployment(name, &json!({}), "150m")).collect();
    all.push(deployment("secret", &json!({"profiler/enabled": "false"}), "100m"));
    all.extend([job("import", JOB_SECONDS), cron_job("report", "1")]);
    all
}
