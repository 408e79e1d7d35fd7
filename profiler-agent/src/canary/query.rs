//! One question to Pyroscope's query API: the sum of one window, over all series with some labels.

use super::answer::total;
use super::{CanaryConfig, Sent};
use crate::export::{ExportConfig, RequestHeaders, USER_AGENT, bounded, client_tls, error_chain};
use crate::otlp::underscored;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const METHOD: &str = "/querier.v1.QuerierService/SelectMergeStacktraces";
/// What samples with the period type CPU are stored as.
const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
/// For name look-up and TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the whole.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: only a sum is wanted.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

pub(super) struct Query {
    url: String,
    headers: RequestHeaders,
    ca_file: Option<PathBuf>,
}

impl Query {
    pub(super) fn new(config: &CanaryConfig) -> anyhow::Result<Self> {
        let (tenant, auth) = (config.tenant.clone(), config.auth.clone());
        let headers = RequestHeaders::new(&ExportConfig { tenant, auth, ..ExportConfig::new(Vec::new()) })?;
        let url = format!("{}{METHOD}", config.url.to_string().trim_end_matches('/'));
        Ok(Self { url, headers, ca_file: config.ca_file.clone() })
    }

    /// The sum in nanoseconds, or why there is none.
    pub(super) async fn ask(&self, window: &Sent) -> Result<u64, String> {
        let asked = tokio::time::timeout(TIMEOUT, self.answer(window)).await;
        let body = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))?;
        total(&body).map_err(|error| bounded(&error.to_string()))
    }

    async fn answer(&self, window: &Sent) -> Result<Bytes, String> {
        let said = |error: anyhow::Error| bounded(&format!("{error:#}"));
        let request = self.request(window).map_err(said)?;
        // A client for each question: they are rare, and certificates and addresses may change in between.
        let client = self.client().map_err(said)?;
        let response = client.request(request).await.map_err(|error| bounded(&error_chain(&error)))?;
        body(response).await
    }

    fn client(&self) -> anyhow::Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnector::from((connector, client_tls(self.ca_file.clone())?));
        Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
    }

    fn request(&self, window: &Sent) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::post(&self.url).body(Full::new(question(window).into()))?;
        let own = request.headers_mut();
        own.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        own.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        own.extend(self.headers.read()?);
        Ok(request)
    }
}

/// The body of an answer that is one.
async fn body(response: Response<Incoming>) -> Result<Bytes, String> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    if !status.is_success() {
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(bounded(format!("HTTP {}: {}", status.as_u16(), String::from_utf8_lossy(&text)).trim()));
    }
    body.map(|body| body.to_bytes()).map_err(|error| bounded(&format!("the answer cannot be read: {error}")))
}

/// All profiles of a window have its start as their time; the next window's is a whole window away.
fn question(window: &Sent) -> String {
    let start_ms = window.start_unix_ns / 1_000_000;
    let end_ms = start_ms.saturating_add((window.duration_ns / 2_000_000).max(1));
    let question = serde_json::json!({
        "profileTypeID": CPU,
        "labelSelector": selector(&window.labels),
        "start": start_ms.to_string(),
        "end": end_ms.to_string(),
        // The sum is wanted, not the stacks.
        "maxNodes": "1",
    });
    question.to_string()
}

/// `{host_name="a",team="b"}`
fn selector(labels: &[(Arc<str>, Arc<str>)]) -> String {
    let matcher = |(key, value): &(Arc<str>, Arc<str>)| format!("{}={}", underscored(key), quoted(value));
    format!("{{{}}}", labels.iter().map(matcher).collect::<Vec<_>>().join(","))
}

/// A string of Go.
fn quoted(text: &str) -> String {
    let escaped = text.chars().flat_map(|c| match c {
        '"' | '\\' => vec!['\\', c],
        '\n' => vec!['\\', 'n'],
        c => vec![c],
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_the_time_of_one_window() {
        let labels = vec![
            (Arc::from("host.name"), Arc::from("node \"1\"\\")),
            (Arc::from("deployment_environment"), Arc::from("prod")),
        ];
        let window =
            Sent { start_unix_ns: 1_700_000_000_123_999_999, duration_ns: 10_000_000_000, value_ns: 1, labels };
        let question: serde_json::Value = serde_json::from_str(&question(&window)).unwrap();
        assert_eq!((&question["start"], &question["end"]), (&"1700000000123".into(), &"1700000005123".into()));
        assert_eq!(question["labelSelector"], r#"{host_name="node \"1\"\\",deployment_environment="prod"}"#);
    }
}
