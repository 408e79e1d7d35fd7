//! A real Kubernetes node: API server, kubelet and containerd, in a network of their own.
//!
//! Input: what `cargo xtask setup cluster` built. Output: a cluster that all tests of a file share, with the agent's chart,
//! a Pyroscope and workloads of known truth in it. Invariant: it ends with the process of the tests, however that ends.

mod audit;
pub mod image;
pub mod install;
pub mod logs;
pub mod objects;

pub use audit::{Request, requests};
pub use install::{Installed, installed};

use crate::pyroscope::build::cache;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Name of the node.
pub const NODE: &str = "node1";
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    kit: PathBuf,
    /// Its state.
    pub run: PathBuf,
    /// Ends the cluster when its standard input ends, which is with this process.
    _holder: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// The cluster of this process, started by the first who asks. From now on the calling thread is in the cluster's network.
pub fn cluster() -> &'static Cluster {
    let cluster = CLUSTER.get_or_init(Cluster::start);
    let network = File::open("/run/netns/profiler-cluster").expect("the cluster's network");
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("a thread in that network");
    cluster
}

/// A script of tests/cluster.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(name)
}

impl Cluster {
    fn start() -> Self {
        let kit = std::env::var_os("PROFILER_CLUSTER").map(PathBuf::from);
        let kit = kit.expect("PROFILER_CLUSTER names no folder: make one by `cargo xtask setup cluster`");
        let run = cache().expect("a cache folder").join("cluster-run");
        let mut hold = Command::new("setsid");
        hold.arg(script("hold")).env("PROFILER_CLUSTER", &kit).env("PROFILER_CLUSTER_RUN", &run);
        let mut holder =
            hold.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the cluster's script starts");
        let output = BufReader::new(holder.stdout.take().expect("its standard output is piped"));
        for line in output.lines().map_while(Result::ok) {
            eprintln!("cluster: {line}");
            match line.as_str() {
                "the cluster is up" => return Self { kit, run, _holder: holder },
                "no cluster" => break,
                _ => {}
            }
        }
        panic!("no cluster: see the logs in {}/log", run.display());
    }

    /// A program of the kit.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.kit.join("bin").join(name)
    }

    /// The same, set up for the cluster.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        command.env("KUBECONFIG", self.run.join("kubeconfig")).stdin(Stdio::null());
        command
    }

    /// kubectl, which must succeed; returns what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        succeeded("kubectl", arguments, self.try_kubectl(arguments))
    }

    /// kubectl, which may fail.
    #[must_use]
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.command("kubectl").args(arguments).output().expect("kubectl starts")
    }

    /// What kubectl says of objects.
    #[must_use]
    pub fn get(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).expect("JSON of kubectl")
    }

    /// The same of objects of a kind.
    #[must_use]
    pub fn list(&self, arguments: &[&str]) -> Vec<Value> {
        self.get(arguments)["items"].as_array().cloned().unwrap_or_default()
    }

    /// kubectl with a manifest on its standard input.
    #[must_use]
    pub fn feed(&self, arguments: &[&str], manifest: &str) -> Output {
        let mut kubectl = self.command("kubectl");
        kubectl.args(arguments).args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut kubectl = kubectl.spawn().expect("kubectl starts");
        let mut stdin = kubectl.stdin.take().expect("its standard input is piped");
        let text = manifest.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = kubectl.wait_with_output().expect("kubectl ends");
        let _ = writer.join();
        output
    }

    /// Applies objects.
    pub fn apply(&self, objects: &[Value]) {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        succeeded("kubectl", &["apply"], self.feed(&["apply"], &list.to_string()));
    }

    /// helm, which must succeed; returns what it printed.
    pub fn helm(&self, arguments: &[&str]) -> String {
        let mut helm = self.command("helm");
        // Of its own: what the host's user has configured is nothing to us.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.run.join("helm"));
        }
        succeeded("helm", arguments, helm.args(arguments).output().expect("helm starts"))
    }
}

/// Standard output of a command that must succeed.
fn succeeded(program: &str, arguments: &[&str], output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asks until the answer is some.
///
/// # Panics
/// When there is none in time.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
}
