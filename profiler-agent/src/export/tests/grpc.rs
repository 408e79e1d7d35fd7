//! Every class of answer over gRPC.

use super::*;
use crate::export::outcome::retry_info;
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_server::{
    ProfilesService, ProfilesServiceServer,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesPartialSuccess, ExportProfilesServiceResponse,
};
use std::convert::Infallible;
use std::time::Instant;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{BoxFuture, Service as Tower};
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

pub(super) enum Reply {
    Accept,
    Partial(i64, &'static str),
    Fail(Status),
    Hang,
}

/// What a request gets: by its number and content.
type Script = Box<dyn Fn(usize, &ExportProfilesServiceRequest) -> Reply + Send + Sync>;

pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) request: ExportProfilesServiceRequest,
    metadata: MetadataMap,
}

#[derive(Clone)]
pub(super) struct Stub {
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
}

#[tonic::async_trait]
impl ProfilesService for Stub {
    async fn export(
        &self,
        request: Request<ExportProfilesServiceRequest>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let reply = {
            let mut seen = self.seen.lock().unwrap();
            let reply = (self.script)(seen.len(), &request);
            seen.push(Seen { at: Instant::now(), request, metadata });
            reply
        };
        let accepted = |rejected_profiles, error_message: &str| {
            let partial = ExportProfilesPartialSuccess { rejected_profiles, error_message: error_message.into() };
            Ok(Response::new(ExportProfilesServiceResponse { partial_success: Some(partial) }))
        };
        match reply {
            Reply::Accept => Ok(Response::new(ExportProfilesServiceResponse::default())),
            Reply::Partial(rejected, message) => accepted(rejected, message),
            Reply::Fail(status) => Err(status),
            Reply::Hang => std::future::pending().await,
        }
    }
}

impl Stub {
    pub(super) fn serve(
        listener: TcpListener,
        script: impl Fn(usize, &ExportProfilesServiceRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let stub = Self { seen: Arc::default(), script: Arc::new(Box::new(script)) };
        let service = ProfilesServiceServer::new(stub.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        stub
    }

    fn ids(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().iter().map(|seen| profile_id(&seen.request)).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

#[tokio::test]
async fn an_accepted_part_arrives_as_it_is_with_its_headers() {
    let (listener, address) = listener().await;
    let stub = Stub::serve(listener, |_, _| Reply::Accept);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "abc\n").unwrap();
    let config = ExportConfig {
        tenant: Some("team-a".into()),
        headers: vec![("x-extra".into(), "1".into())],
        auth: Auth::BearerFile(token),
        ..config(&[address], Protocol::Grpc)
    };
    let sent = part("shop", 3);
    let bench = Bench::start(config, vec![sent.clone()]);
    assert_eq!(bench.settled().await.exported, 3);
    assert!(bench.exporter.status().last_accepted.is_some());
    assert_eq!((bench.requests("accepted"), bench.ambiguous()), (1.0, 0.0));
    let seen = stub.seen.lock().unwrap();
    assert_eq!(seen[0].request, sent.request);
    let header = |name: &str| seen[0].metadata.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("x-scope-orgid"), "team-a");
    assert_eq!(header("x-extra"), "1");
    assert_eq!(header("authorization"), "Bearer abc");
    assert_eq!(header("grpc-encoding"), "gzip");
}

#[tokio::test]
async fn a_full_server_is_asked_again_when_it_says() {
    let (listener, address) = listener().await;
    let stub = Stub::serve(listener, |n, _| match n {
        0 => Reply::Fail(Status::unknown("failed to make a GRPC request: resource_exhausted: rate limit")),
        1 => Reply::Fail(Status::with_details(Code::ResourceExhausted, "busy", retry_info(0, 300_000_000).into())),
        _ => Reply::Accept,
    });
    let bench = Bench::start(config(&[address], Protocol::Grpc), vec![part("shop", 3)]);
    assert_eq!(bench.settled().await.exported, 3);
    let ids = stub.ids();
    assert_eq!((ids.len(), ids[0] == ids[1], ids[1] == ids[2]), (3, true, true));
    let seen = stub.seen.lock().unwrap();
    assert!(seen[2].at - seen[1].at >= Duration::from_millis(300));
    assert_eq!((bench.requests("retry"), bench.ambiguous()), (2.0, 0.0));
}

#[tokio::test]
async fn what_is_refused_for_good_is_sent_once() {
    let answers = [
        Status::invalid_argument("missing profile metadata dictionary"),
        Status::unknown("failed to make a GRPC request: failed: invalid_argument: too many labels"),
        Status::internal("rpc error: status: 401 Unauthorized"),
        Status::unauthenticated("no"),
        Status::permission_denied("no"),
        Status::unimplemented("unknown service"),
    ];
    for status in answers {
        let (listener, address) = listener().await;
        let answer = status.clone();
        let stub = Stub::serve(listener, move |_, _| Reply::Fail(answer.clone()));
        let bench = Bench::start(config(&[address], Protocol::Grpc), vec![part("shop", 3)]);
        assert_eq!(dropped(&bench.settled().await, "refused"), 3, "{status}");
        assert_eq!(stub.count(), 1, "{status}");
        assert!(bench.exporter.status().last_error.unwrap().contains(status.message()));
        assert!(bench.exporter.status().last_accepted.is_none());
    }
}

#[tokio::test]
async fn partial_success_drops_what_was_rejected() {
    let (listener, address) = listener().await;
    Stub::serve(listener, |n, _| if n == 0 { Reply::Partial(1, "bad") } else { Reply::Partial(0, "be nice") });
    let config = ExportConfig { concurrency: 1, ..config(&[address], Protocol::Grpc) };
    let bench = Bench::start(config, vec![part("a", 3), part("b", 4)]);
    let snapshot = bench.settled().await;
    assert_eq!((snapshot.exported, dropped(&snapshot, "rejected")), (4, 3));
}

#[tokio::test]
async fn what_is_too_large_is_split_until_it_passes() {
    let (listener, address) = listener().await;
    let stub = Stub::serve(listener, |_, request| match stacks(request) {
        0..=3 => Reply::Accept,
        _ => Reply::Fail(Status::resource_exhausted("grpc: received message larger than max (9 vs. 3)")),
    });
    let bench = Bench::start(config(&[address], Protocol::Grpc), vec![part("shop", 10)]);
    assert_eq!(bench.settled().await.exported, 10);
    assert_eq!(bench.requests("accepted"), 4.0);
    let ids: std::collections::HashSet<_> = stub.ids().into_iter().collect();
    assert_eq!(ids.len(), stub.count(), "each half is a profile of its own");
}

#[tokio::test]
async fn a_stack_too_large_alone_is_refused() {
    let (listener, address) = listener().await;
    Stub::serve(listener, |_, _| Reply::Fail(Status::resource_exhausted("received message larger than max")));
    let bench = Bench::start(config(&[address], Protocol::Grpc), vec![part("shop", 3)]);
    assert_eq!(dropped(&bench.settled().await, "refused"), 3);
}

#[tokio::test]
async fn no_answer_is_ambiguous_and_sent_again_under_the_same_id() {
    let (listener, address) = listener().await;
    let stub = Stub::serve(listener, |n, _| match n {
        0 => Reply::Hang,
        1 => Reply::Fail(Status::unavailable("upstream gone")),
        _ => Reply::Accept,
    });
    let config = ExportConfig { timeout: Duration::from_millis(300), ..config(&[address], Protocol::Grpc) };
    let bench = Bench::start(config, vec![part("shop", 3)]);
    assert_eq!(bench.settled().await.exported, 3);
    let ids = stub.ids();
    assert_eq!((ids.len(), ids[0] == ids[1], ids[1] == ids[2]), (3, true, true));
    assert_eq!((bench.requests("ambiguous"), bench.ambiguous()), (2.0, 6.0));
}

#[derive(Clone)]
struct NotBase64(Stub);

impl tonic::server::NamedService for NotBase64 {
    const NAME: &'static str = "opentelemetry.proto.collector.profiles.v1development.ProfilesService";
}

impl Tower<::http::Request<tonic::body::Body>> for NotBase64 {
    type Response = ::http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<tonic::body::Body>) -> Self::Future {
        if self.0.count() == 0 {
            // Counts the request without reading it.
            let seen = Seen { at: Instant::now(), request: Default::default(), metadata: MetadataMap::new() };
            self.0.seen.lock().unwrap().push(seen);
            let answer = ::http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "8")
                .header("grpc-status-details-bin", "!!!");
            return Box::pin(async move { Ok(answer.body(tonic::body::Body::empty()).unwrap()) });
        }
        let mut service = ProfilesServiceServer::new(self.0.clone()).accept_compressed(CompressionEncoding::Gzip);
        Box::pin(async move { service.call(request).await })
    }
}

#[tokio::test]
async fn a_malformed_status_costs_no_worker() {
    let (listener, address) = listener().await;
    let stub = Stub { seen: Arc::default(), script: Arc::new(Box::new(|_, _| Reply::Accept)) };
    let server = Server::builder().add_service(NotBase64(stub));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let config = ExportConfig { concurrency: 1, ..config(&[address], Protocol::Grpc) };
    let bench = Bench::start(config, vec![part("shop", 3)]);
    assert_eq!(bench.settled().await.exported, 3);
    assert_eq!(bench.ambiguous(), 3.0);
}
