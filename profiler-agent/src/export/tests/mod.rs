//! The exporter against servers that really answer, on loopback.

mod grpc;
mod http;
mod outages;
mod tls;

use super::*;
use crate::otlp::{LabelStyle, MAX_PART_BYTES, parts};
use crate::profile::{FrameKind, Function, Line, Location, Mapping, Profile, Sample, Service};
use crate::telemetry::ledger::{KernelCounters, KernelCounts, Ledger, Snapshot};
use crate::telemetry::metrics::Metric;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::TcpListener;

/// One sample per stack, each stack with a name of its own.
fn part(service: &str, stacks: u32) -> Part {
    let line = |function| [Line { function, line: 1 }].into();
    let location = |n| Location { mapping: 0, address: 4096 + u64::from(n), kind: FrameKind::Native, lines: line(n) };
    let function = |n| Function { name: format!("f{n}").into(), system_name: "".into(), file: "".into() };
    let profile = Profile {
        start_unix_ns: crate::host::unix_ns(),
        duration_ns: 1,
        period_ns: 1,
        mappings: vec![Mapping { path: "/demo".into(), build_id: "".into() }],
        functions: (0..stacks).map(function).collect(),
        locations: (0..stacks).map(location).collect(),
        stacks: (0..stacks).map(|n| [n].into()).collect(),
        services: vec![Service {
            name: service.into(),
            labels: Vec::new(),
            samples: (0..stacks).map(|stack| Sample { stack, thread: 0, count: 1 }).collect(),
        }],
        ..Profile::default()
    };
    parts(&profile, &[], LabelStyle::Underscore, MAX_PART_BYTES).remove(0)
}

struct Fixed(u64);
impl KernelCounters for Fixed {
    fn read(&self) -> KernelCounts {
        KernelCounts { entered: self.0, outcomes: [self.0, 0, 0], submitted: vec![self.0] }
    }
}

/// An exporter whose ledger has exactly the samples of `parts`, already handed over.
struct Bench {
    exporter: Exporter,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn start(config: ExportConfig, parts: Vec<Part>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let exporter = Exporter::start(&config, Arc::clone(&metrics), None).unwrap();
        let total = parts.iter().map(|part| part.samples).sum();
        let ledger = Arc::new(Ledger::default());
        ledger.set_kernel(Box::new(Fixed(total)));
        let mut pending = ledger.receive(&[(0, total)], total);
        let parts = parts.into_iter().map(|part| {
            let share = pending.split(part.samples);
            (part, share)
        });
        exporter.send(parts.collect(), None);
        Self { exporter, ledger, metrics }
    }

    fn balanced(&self) -> Snapshot {
        let snapshot = self.ledger.snapshot();
        assert!(snapshot.balances(), "{snapshot}");
        snapshot
    }

    /// Waits until nothing is pending; the ledger balances all the time.
    async fn settled(&self) -> Snapshot {
        for _ in 0..3000 {
            let snapshot = self.balanced();
            if snapshot.pending == 0 {
                return snapshot;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still pending: {} {:?}", self.ledger.snapshot(), self.exporter.status());
    }

    fn requests(&self, outcome: &'static str) -> f64 {
        self.metrics.get(Metric::ExportRequests, outcome)
    }

    fn ambiguous(&self) -> f64 {
        self.metrics.get(Metric::ExportAmbiguous, "")
    }
}

fn dropped(snapshot: &Snapshot, reason: &str) -> u64 {
    snapshot.dropped.iter().find(|(found, _)| *found == reason).unwrap().1
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn config(addresses: &[SocketAddr], protocol: Protocol) -> ExportConfig {
    let endpoints = addresses.iter().map(|address| format!("http://{address}").parse().unwrap());
    let timeout = Duration::from_secs(2);
    ExportConfig { protocol, timeout, ..ExportConfig::new(endpoints.collect()) }
}

fn profile_id(request: &ExportProfilesServiceRequest) -> Vec<u8> {
    request.resource_profiles[0].scope_profiles[0].profiles[0].profile_id.clone()
}

fn stacks(request: &ExportProfilesServiceRequest) -> usize {
    request.resource_profiles[0].scope_profiles[0].profiles[0].samples.len()
}
