//! One request after the other, within bounds of time and size.

use crate::export::{Endpoint, client_tls};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client as HyperClient, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// For name look-up and TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the beginning of an answer: a server may have to unpack a package first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// For each further piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// For the whole.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(900);
/// The debug info of a browser is 2 GiB; nobody reads that much of one file here.
const MAX_BODY_BYTES: u64 = 1 << 30;
const MAX_REDIRECTS: usize = 3;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The file is there.
    Found,
    /// The server does not have it.
    Absent,
    /// What came is of another build.
    Mismatch,
    /// More than what is looked at.
    TooLarge,
    /// The server failed, or its answer was cut short.
    Failed,
    /// There was no connection.
    Unreachable,
}

impl Answer {
    /// The label value in `/metrics`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Absent => "absent",
            Self::Mismatch => "mismatch",
            Self::TooLarge => "too_large",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Asks servers in order.
pub(super) struct Client {
    client: HyperClient<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    urls: Vec<String>,
    max_body_bytes: u64,
}

impl Client {
    pub(super) fn new(urls: &[Endpoint], ca_file: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnector::from((connector, client_tls(ca_file)?));
        let client = HyperClient::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let urls = urls.iter().map(|url| url.to_string().trim_end_matches('/').to_owned()).collect();
        Ok(Self { client, urls, max_body_bytes: MAX_BODY_BYTES })
    }

    #[cfg(test)]
    pub(super) fn with_max_body_bytes(self, max_body_bytes: u64) -> Self {
        Self { max_body_bytes, ..self }
    }

    /// Writes the debug info of a build ID into a file. What the first server says that has it counts, else the best
    /// of what all say.
    pub(super) async fn fetch(&self, build_id: &str, into: &mut File) -> Answer {
        let mut worst = Answer::Absent;
        for url in &self.urls {
            let url = format!("{url}/buildid/{build_id}/debuginfo");
            match timeout(WHOLE_TIMEOUT, self.ask(&url, into)).await.unwrap_or(Answer::Failed) {
                Answer::Found => return Answer::Found,
                Answer::Absent => {}
                other => worst = other,
            }
        }
        worst
    }

    async fn ask(&self, url: &str, into: &mut File) -> Answer {
        let Ok(mut url) = url.parse::<Uri>() else { return Answer::Failed };
        for _ in 0..=MAX_REDIRECTS {
            let Ok(request) = Request::get(&url).header(USER_AGENT, super::USER_AGENT).body(Empty::new()) else {
                return Answer::Failed;
            };
            let response = match timeout(HEAD_TIMEOUT, self.client.request(request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) if error.is_connect() => return Answer::Unreachable,
                Ok(Err(_)) | Err(_) => return Answer::Failed,
            };
            match response.status() {
                StatusCode::OK => return self.take(response, into).await,
                StatusCode::NOT_FOUND | StatusCode::GONE => return Answer::Absent,
                status if status.is_redirection() => match redirected(&url, &response) {
                    Some(next) => url = next,
                    None => return Answer::Failed,
                },
                _ => return Answer::Failed,
            }
        }
        Answer::Failed
    }

    async fn take(&self, response: Response<Incoming>, into: &mut File) -> Answer {
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.max_body_bytes) {
            return Answer::TooLarge;
        }
        // A server before this one may have begun and failed.
        if into.set_len(0).and_then(|()| std::io::Seek::rewind(into)).is_err() {
            return Answer::Failed;
        }
        let (mut body, mut bytes) = (response.into_body(), 0);
        while let Ok(frame) = timeout(PIECE_TIMEOUT, body.frame()).await {
            match frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())) {
                None => return Answer::Found,
                Some(Err(_)) => return Answer::Failed,
                Some(Ok(piece)) => {
                    bytes += piece.len() as u64;
                    if bytes > self.max_body_bytes {
                        return Answer::TooLarge;
                    }
                    if into.write_all(&piece).is_err() {
                        return Answer::Failed;
                    }
                }
            }
        }
        Answer::Failed
    }
}

/// Where the server sends us: to another place of the same scheme, or nowhere.
fn redirected(from: &Uri, response: &Response<Incoming>) -> Option<Uri> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    resolve(from, location)
}

fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let next = match location.starts_with('/') && !location.starts_with("//") {
        true => format!("{}://{}{location}", from.scheme_str()?, from.authority()?).parse::<Uri>().ok()?,
        false => location.parse::<Uri>().ok()?,
    };
    let is_plain = next.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (is_plain && next.scheme() == from.scheme()).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_with_the_scheme() {
        let to = |location| resolve(&"https://a/buildid/aa/debuginfo".parse().unwrap(), location);
        assert_eq!(to("https://b:1/x?y").unwrap(), "https://b:1/x?y");
        assert_eq!(to("/x/y").unwrap(), "https://a/x/y");
        for bad in ["http://a/x", "file:///etc/passwd", "//b/x", "https://u:p@b/x", "x/y", "", "https://"] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }
}
