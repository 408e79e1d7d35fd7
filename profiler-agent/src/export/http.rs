//! OTLP over HTTP, protobuf bodies.

use super::config::Endpoint;
use super::grpc::{accepted, chain};
use super::link::{Attempt, CONNECT_TIMEOUT, USER_AGENT, bounded};
use super::outcome::{Outcome, of_http};
use super::tls::TlsFiles;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use prost::Message;
use std::io::Write;
use std::time::Duration;

/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
}

impl HttpClient {
    pub(super) fn new(endpoint: &Endpoint, tls: &TlsFiles, timeout: Duration) -> anyhow::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT.min(timeout / 2)));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls.http()?).https_or_http();
        let connector = match tls.server_name() {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let connector = connector.enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { client, url: endpoint.http_profiles() })
    }

    pub(super) async fn send(self, body: Bytes, headers: HeaderMap) -> Attempt {
        let request = match self.request(&body, headers) {
            Ok(request) => request,
            Err(error) => return Attempt::NotSent(bounded(&format!("{error:#}"))),
        };
        match self.client.request(request).await {
            Ok(response) => answer(response).await,
            Err(error) if error.is_connect() => Attempt::NotReached(bounded(&chain(&error))),
            Err(error) => Attempt::Answered(Outcome::Ambiguous { after: None }, bounded(&chain(&error))),
        }
    }

    fn request(&self, body: &[u8], headers: HeaderMap) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        gzip.write_all(body)?;
        let mut request = Request::post(&self.url).body(Full::new(gzip.finish()?.into()))?;
        let own = request.headers_mut();
        own.insert(http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT));
        own.extend(headers);
        own.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/x-protobuf"));
        own.insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
        Ok(request)
    }
}

/// What the status says stands, whatever becomes of the body.
async fn answer(response: Response<Incoming>) -> Attempt {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
    let body = body.await.map(|body| body.to_bytes()).unwrap_or_default();
    if status.is_success() {
        return accepted(&ExportProfilesServiceResponse::decode(body).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&body);
    let outcome = of_http(status.as_u16(), retry_after.as_deref(), &text);
    Attempt::Answered(outcome, bounded(&said(status, &text)))
}

/// OTLP servers answer with an encoded `google.rpc.Status`; its text is enough.
fn said(status: StatusCode, text: &str) -> String {
    format!("HTTP {}: {}", status.as_u16(), text.trim())
}
