//! A real Pyroscope server: built from Go modules, started on loopback, asked over its own API.
//!
//! Input: the module list in `tests/pyroscope`, a Go tool chain (1.25.7 or later). Output: a server that takes OTLP over
//! gRPC and HTTP on one port, and what it stored. Invariant: it ends, and its data goes, when [`Pyroscope`] is dropped.

pub(crate) mod build;
mod query;

pub use build::ensure_built;
pub use query::{CPU, Range, Stack, value_of, value_where};

use crate::workload::{free_port, http_get};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the server may take to be ready: one second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A running server with empty storage.
#[derive(Debug)]
pub struct Pyroscope {
    /// The process and its folder; none of a server that runs elsewhere.
    process: Option<(Child, TempDir)>,
    /// `host:port`, for OTLP and for queries.
    pub address: String,
}

impl Pyroscope {
    /// Builds it if need be and starts it on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(free_port())
    }

    /// The same with more flags.
    #[must_use]
    pub fn start_with(flags: &[&str]) -> Self {
        Self::launch(free_port(), flags)
    }

    /// The same on a given port: for one that comes back after an outage, with nothing stored.
    #[must_use]
    pub fn start_at(port: u16) -> Self {
        Self::launch(port, &[])
    }

    /// One that somebody else starts and ends.
    #[must_use]
    pub fn elsewhere(address: &str) -> Self {
        Self { process: None, address: address.to_owned() }
    }

    fn launch(port: u16, flags: &[&str]) -> Self {
        let binary = ensure_built().expect("a Pyroscope server");
        let folder = tempfile::tempdir().expect("a folder for its data");
        let log = File::create(folder.path().join("log")).expect("its log");
        let child = Command::new(binary)
            .args(arguments(port, free_port()))
            .args(flags)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("its log, again"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let mut server = Self { process: Some((child, folder)), address: format!("127.0.0.1:{port}") };
        server.wait_until_ready();
        server
    }

    /// For `--endpoint`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        while http_get(&format!("{}/ready", self.address)).is_none_or(|(status, _)| status != 200) {
            let ended = self.process.as_mut().map(|(child, _)| child.try_wait().expect("the server can be waited for"));
            assert!(ended.flatten().is_none(), "the server ended at once:\n{}", self.log());
            assert!(started.elapsed() < PATIENCE, "the server is not ready:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// The end of what it logged.
    #[must_use]
    pub fn log(&self) -> String {
        let Some((_, folder)) = &self.process else { return format!("see {}", self.address) };
        let text = std::fs::read(folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(10_000)..]).into_owned()
    }

    /// Asks until the answer is some; fails after the deadline. What was accepted may be readable a little later.
    pub fn wait_for<T>(&self, what: &str, deadline: Duration, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(started.elapsed() < deadline, "no {what} after {deadline:?}; the server's log:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Pyroscope {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One process, everything on loopback, all state in the current folder.
pub(crate) fn arguments(http_port: u16, grpc_port: u16) -> Vec<String> {
    let mut arguments =
        vec![format!("-server.http-listen-port={http_port}"), format!("-server.grpc-listen-port={grpc_port}")];
    arguments.extend(FLAGS.iter().map(|&flag| flag.to_owned()));
    arguments.extend(RINGS.iter().map(|ring| format!("-{ring}.store=inmemory")));
    arguments.extend(INSTANCES.iter().map(|instance| format!("-{instance}=127.0.0.1")));
    arguments
}

const FLAGS: &[&str] = &[
    "-target=all",
    "-config.show_banner=false",
    "-usage-stats.enabled=false",
    "-self-profiling.disable-push=true",
    "-storage.backend=filesystem",
    "-storage.filesystem.dir=bucket",
    "-pyroscopedb.data-path=db",
    "-compactor.data-dir=compactor",
    "-blocks-storage.bucket-store.sync-dir=sync",
    "-ingester.min-ready-duration=0s",
];

const RINGS: &[&str] = &[
    "ring",
    "distributor.ring",
    "compactor.ring",
    "store-gateway.sharding-ring",
    "query-scheduler.ring",
    "overrides-exporter.ring",
];

const INSTANCES: &[&str] = &[
    "server.http-listen-address",
    "server.grpc-listen-address",
    "ingester.lifecycler.addr",
    "distributor.ring.instance-addr",
    "compactor.ring.instance-addr",
    "store-gateway.sharding-ring.instance-addr",
    "query-scheduler.ring.instance-addr",
    "query-frontend.instance-addr",
    "overrides-exporter.ring.instance-addr",
];
