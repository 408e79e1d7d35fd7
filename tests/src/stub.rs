//! An OTLP profiles server that answers as it is told: gRPC or HTTP, on loopback, on a thread of its own.
//!
//! It keeps every request and says what it has taken, so that a test can compare that with the agent's ledger.

mod grpc;
mod http;

use crate::workload::free_port;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::Profile;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use grpc::{busy_for, size_limit};
pub use tonic::{Code, Status};

/// What the server does with a request, all of which it has read.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Takes it.
    Accept,
    /// Says yes, and in `partial_success` that this many profiles were rejected.
    Reject(i64),
    /// A gRPC status.
    Grpc(Status),
    /// An HTTP status, perhaps with `Retry-After`, and a body.
    Http(u16, Option<u32>, &'static str),
    /// Never answers.
    Hang,
    /// Closes the connection instead of an answer.
    Close,
    /// Takes it, and closes the connection instead of saying so.
    TakeAndClose,
}

impl Answer {
    fn takes(&self) -> bool {
        matches!(self, Self::Accept | Self::TakeAndClose)
    }
}

/// How the requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP.
    Http,
}

impl Protocol {
    /// The value of the agent's `--protocol`.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// How many different profiles came before this one: all tries of a profile have the same.
    pub part: usize,
    /// How often this profile had come before.
    pub attempt: usize,
    /// Ids of its profiles.
    pub ids: Vec<Vec<u8>>,
    /// Sum of all values of all samples.
    pub samples: u64,
    /// Number of samples: stacks with their attributes.
    pub stacks: usize,
    /// The whole.
    pub request: ExportProfilesServiceRequest,
    /// Whether the server took it.
    pub taken: bool,
    /// When it came.
    pub at: Instant,
}

/// All profiles of a request.
pub fn profiles(request: &ExportProfilesServiceRequest) -> impl Iterator<Item = &Profile> {
    request.resource_profiles.iter().flat_map(|resource| &resource.scope_profiles).flat_map(|scope| &scope.profiles)
}

/// The sum of all values of all samples.
#[must_use]
pub fn sum(request: &ExportProfilesServiceRequest) -> u64 {
    let values = profiles(request).flat_map(|profile| &profile.samples).flat_map(|sample| &sample.values);
    values.map(|&value| u64::try_from(value).expect("no value is negative")).sum()
}

type Script = Box<dyn Fn(&Arrival) -> Answer + Send + Sync>;

struct State {
    script: Script,
    /// Whether what came is kept as a whole.
    keeps: bool,
    arrivals: Mutex<Arrivals>,
}

#[derive(Default)]
struct Arrivals {
    all: Vec<Arrival>,
    /// By the ids of its profiles: the part, and how often it came.
    tries: HashMap<Vec<Vec<u8>>, (usize, usize)>,
}

impl State {
    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the request and decides about it.
    fn arrive(&self, request: ExportProfilesServiceRequest) -> Answer {
        let mut arrivals = self.arrivals();
        let ids: Vec<Vec<u8>> = profiles(&request).map(|profile| profile.profile_id.clone()).collect();
        let parts = arrivals.tries.len();
        let tries = arrivals.tries.entry(ids.clone()).or_insert((parts, 0));
        tries.1 += 1;
        let mut arrival = Arrival {
            part: tries.0,
            attempt: tries.1 - 1,
            samples: sum(&request),
            stacks: profiles(&request).map(|profile| profile.samples.len()).sum(),
            ids,
            request,
            taken: false,
            at: Instant::now(),
        };
        let answer = (self.script)(&arrival);
        arrival.taken = answer.takes();
        if !self.keeps {
            arrival.request = ExportProfilesServiceRequest::default();
        }
        arrivals.all.push(arrival);
        answer
    }
}

/// The server; it stops when dropped.
pub struct Stub {
    protocol: Protocol,
    port: u16,
    state: Arc<State>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Stub {
    /// A server that answers as the script says, on a free port.
    #[must_use]
    pub fn start(protocol: Protocol, script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> Self {
        let mut stub = Self::stopped(protocol, script);
        stub.resume();
        stub
    }

    /// The same, not yet started: nobody listens on its port.
    #[must_use]
    pub fn stopped(protocol: Protocol, script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> Self {
        Self::of(protocol, State { script: Box::new(script), keeps: true, arrivals: Mutex::default() })
    }

    /// A server that takes everything and remembers no request, for hours.
    #[must_use]
    pub fn forgetting(protocol: Protocol) -> Self {
        let state = State { script: Box::new(|_| Answer::Accept), keeps: false, arrivals: Mutex::default() };
        let mut stub = Self::of(protocol, state);
        stub.resume();
        stub
    }

    fn of(protocol: Protocol, state: State) -> Self {
        Self { protocol, port: free_port(), state: Arc::new(state), running: None }
    }

    /// The URL for `--endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The value for `--protocol`.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Listens, on the same port as before.
    pub fn resume(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (up, is_up) = std::sync::mpsc::channel();
        let (protocol, port, state) = (self.protocol, self.port, Arc::clone(&self.state));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the stub's port is free");
                up.send(()).expect("the stub is waited for");
                tokio::select! {
                    () = serve(protocol, listener, state) => panic!("the stub ended by itself"),
                    _ = stopped => {}
                }
            });
            // Its tasks and their connections end with the runtime.
        });
        is_up.recv().expect("the stub listens");
        self.running = Some((stop, thread));
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the stub panicked");
        }
    }

    /// All requests so far.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals().all.clone()
    }

    /// Number of requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.arrivals().all.len()
    }

    /// Samples that the server has, each profile counted once, however often it came.
    #[must_use]
    pub fn samples(&self) -> u64 {
        let arrivals = self.state.arrivals();
        let taken = arrivals.all.iter().filter(|arrival| arrival.taken);
        taken.map(|arrival| (arrival.part, arrival.samples)).collect::<BTreeMap<_, _>>().values().sum()
    }

    /// Samples that the server would have if it did not look at ids.
    #[must_use]
    pub fn samples_with_duplicates(&self) -> u64 {
        self.state.arrivals().all.iter().filter(|arrival| arrival.taken).map(|arrival| arrival.samples).sum()
    }

    /// All tries of the profile that came as number `part`.
    #[must_use]
    pub fn tries(&self, part: usize) -> Vec<Arrival> {
        self.state.arrivals().all.iter().filter(|arrival| arrival.part == part).cloned().collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(protocol: Protocol, listener: TcpListener, state: Arc<State>) {
    match protocol {
        Protocol::Grpc => grpc::serve(listener, state).await,
        Protocol::Http => http::serve(listener, state).await,
    }
}
