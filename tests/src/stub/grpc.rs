//! OTLP/gRPC, with answers compressed as real servers do.

use super::{Answer, State};
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_server::{
    ProfilesService, ProfilesServiceServer,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesPartialSuccess, ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use prost::Message as _;
use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::codegen::tokio_stream::StreamExt as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

/// Connections by peer, so that one can be closed from within a request.
type Connections = Arc<Mutex<HashMap<SocketAddr, TcpStream>>>;

struct Service {
    state: Arc<State>,
    connections: Connections,
}

impl Service {
    fn close(&self, peer: Option<SocketAddr>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = peer.and_then(|peer| connections.remove(&peer)).expect("the request has a connection");
        let _ = connection.shutdown(Shutdown::Both);
    }
}

#[tonic::async_trait]
impl ProfilesService for Service {
    async fn export(
        &self,
        request: Request<ExportProfilesServiceRequest>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        let peer = request.remote_addr();
        match self.state.arrive(request.into_inner()) {
            Answer::Accept => Ok(Response::new(ExportProfilesServiceResponse::default())),
            Answer::Reject(profiles) => Ok(Response::new(partial(profiles))),
            Answer::Grpc(status) => Err(status),
            Answer::Http(..) => Err(Status::unimplemented("the script speaks HTTP to a gRPC stub")),
            Answer::Hang => std::future::pending().await,
            Answer::Close | Answer::TakeAndClose => {
                self.close(peer);
                std::future::pending().await
            }
        }
    }
}

pub(super) fn partial(rejected_profiles: i64) -> ExportProfilesServiceResponse {
    let error_message = "some profiles are no good".to_owned();
    let partial = ExportProfilesPartialSuccess { rejected_profiles, error_message };
    ExportProfilesServiceResponse { partial_success: Some(partial) }
}

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let connections = Connections::default();
    let known = Arc::clone(&connections);
    let incoming = TcpIncoming::from(listener).map(move |stream| {
        let stream = stream?;
        let own = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.peer_addr()?, own);
        Ok::<_, std::io::Error>(stream)
    });
    let service = ProfilesServiceServer::new(Service { state, connections: Arc::clone(&connections) })
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    // Our copies would keep connections open when the server is stopped.
    let _close = CloseAll(connections);
    let served = Server::builder().add_service(service).serve_with_incoming(incoming).await;
    served.expect("the gRPC stub serves");
}

struct CloseAll(Connections);

impl Drop for CloseAll {
    fn drop(&mut self) {
        for (_, connection) in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// What Go's gRPC says of a message above its limit.
#[must_use]
pub fn size_limit() -> Status {
    Status::resource_exhausted("grpc: received message larger than max (5242880 vs. 4194304)")
}

/// A rate limit that says when to come back.
#[must_use]
pub fn busy_for(seconds: i64) -> Status {
    let value = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos: 0 }) }.encode_to_vec();
    let info = AnyMessage { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value };
    let message = "ingestion rate limit exceeded";
    let details = RpcStatus { code: 8, message: message.into(), details: vec![info] }.encode_to_vec();
    Status::with_details(Code::ResourceExhausted, message, details.into())
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyMessage>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyMessage {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}
