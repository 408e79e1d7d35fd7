//! OTLP/HTTP, as strict about path and content type as Pyroscope is.

use super::grpc::partial;
use super::{Answer, State};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use prost::Message as _;
use std::io::Read as _;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Ends the connection without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed, as the script says")
    }
}

impl std::error::Error for Closed {}

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.expect("the HTTP stub accepts");
        let state = Arc::clone(&state);
        let answer = service_fn(move |request| answer(request, Arc::clone(&state)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Closed> {
    if request.method() != Method::POST || request.uri().path() != "/v1development/profiles" {
        return Ok(response(404, None, "404 page not found"));
    }
    if request.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != "application/x-protobuf") {
        return Ok(response(415, None, "unsupported media type"));
    }
    let gzip = request.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let body = request.into_body().collect().await.map_err(|_| Closed)?.to_bytes();
    let Some(request) = decode(&body, gzip) else {
        return Ok(response(400, None, "failed to unmarshal the request"));
    };
    match state.arrive(request) {
        Answer::Accept => Ok(message(&ExportProfilesServiceResponse::default())),
        Answer::Reject(profiles) => Ok(message(&partial(profiles))),
        Answer::Http(status, retry_after, body) => Ok(response(status, retry_after, body)),
        Answer::Grpc(_) => Ok(response(501, None, "the script speaks gRPC to an HTTP stub")),
        Answer::Hang => std::future::pending().await,
        Answer::Close | Answer::TakeAndClose => Err(Closed),
    }
}

fn decode(body: &[u8], gzip: bool) -> Option<ExportProfilesServiceRequest> {
    let mut plain = Vec::new();
    if gzip {
        GzDecoder::new(body).read_to_end(&mut plain).ok()?;
    } else {
        plain.extend_from_slice(body);
    }
    ExportProfilesServiceRequest::decode(plain.as_slice()).ok()
}

fn message(message: &ExportProfilesServiceResponse) -> Response<Full<Bytes>> {
    let body = Full::from(message.encode_to_vec());
    Response::builder().header(CONTENT_TYPE, "application/x-protobuf").body(body).expect("a valid response")
}

fn response(status: u16, retry_after: Option<u32>, body: &'static str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = retry_after.into_iter().fold(response, |response, after| response.header(RETRY_AFTER, after));
    response.body(Full::from(body)).expect("a valid response")
}
