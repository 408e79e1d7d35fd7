//! OTLP over gRPC.

use super::config::Endpoint;
use super::link::{Attempt, CONNECT_TIMEOUT, bounded};
use super::outcome::{Outcome, of_grpc};
use super::tls::TlsFiles;
use bytes::{Buf, BufMut, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use prost::Message;
use std::error::Error;
use std::time::Duration;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Extensions, Request, Status};

const PATH: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
/// Pings while a request is on its way; idle connections send none, which servers punish.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Bytes of an answer, compressed and not.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub(super) struct GrpcClient {
    grpc: tonic::client::Grpc<Channel>,
}

impl GrpcClient {
    /// Connects when there is something to send; looks the host up again for every connection.
    pub(super) fn new(endpoint: &Endpoint, tls: &TlsFiles, timeout: Duration) -> anyhow::Result<Self> {
        let mut channel = tonic::transport::Endpoint::from(endpoint.uri().clone())
            .connect_timeout(CONNECT_TIMEOUT.min(timeout / 2))
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEP_ALIVE))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .user_agent(super::link::USER_AGENT)?;
        if endpoint.uri().scheme_str() == Some("https") {
            channel = channel.tls_config(tls.grpc()?)?;
        }
        // Go servers answer in the compression of the request, asked or not.
        let grpc = tonic::client::Grpc::new(channel.connect_lazy())
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self { grpc })
    }

    pub(super) async fn send(mut self, body: Bytes, headers: HeaderMap, timeout: Duration) -> Attempt {
        if let Err(error) = self.grpc.ready().await {
            return Attempt::NotReached(bounded(&chain(&error)));
        }
        let mut request = Request::from_parts(MetadataMap::from_headers(headers), Extensions::default(), body);
        request.set_timeout(timeout);
        match self.grpc.unary(request, PathAndQuery::from_static(PATH), Encoded).await {
            Ok(response) => accepted(&response.into_inner()),
            Err(status) if never_sent(&status) => {
                let cause = status.source().unwrap_or(&status);
                Attempt::NotReached(bounded(&chain(cause)))
            }
            Err(status) => {
                let outcome = of_grpc(status.code(), status.message(), status.details());
                Attempt::Answered(outcome, bounded(&format!("{:?}: {}", status.code(), status.message())))
            }
        }
    }
}

/// The outcome of a request that the server took.
pub(super) fn accepted(response: &ExportProfilesServiceResponse) -> Attempt {
    let partial = response.partial_success.clone().unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_profiles).unwrap_or(0);
    Attempt::Answered(Outcome::Accepted { rejected }, bounded(&partial.error_message))
}

/// Whether there was no connection to send the request on. A timeout while connecting comes as a bare I/O error;
/// one below an error of HTTP is from a connection that was there.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<hyper::Error>() {
            return false;
        }
        if error.is::<tonic::ConnectError>() || error.is::<std::io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

/// Requests are encoded once, when they enter the backlog, and sent as they are.
#[derive(Clone, Copy, Debug)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportProfilesServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, body: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(body.remaining());
        to.put(body);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportProfilesServiceResponse;
    type Error = Status;

    /// The server answered OK: it has the part, even when what else it says makes no sense.
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let answer = from.copy_to_bytes(from.remaining());
        Ok(Some(ExportProfilesServiceResponse::decode(answer).unwrap_or_default()))
    }
}
