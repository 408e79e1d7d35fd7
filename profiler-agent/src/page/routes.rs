//! Which path answers what.

use super::access::{COOKIE_NAME, Shows, Verdict, cookie_value};
use super::answer::{Answer, compressible, download, text};
use super::selection::Query;
use super::{Encode, PageState, Selection, Span, assets, flame, json, services};
use crate::host;
use crate::telemetry::metrics::Metric;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use std::sync::Arc;

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers a request. `loopback` is where the listener is bound. For HEAD, hyper sends the head alone.
pub(super) async fn route<B>(state: &Arc<PageState>, request: &Request<B>, loopback: bool) -> Answer {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return get(state, request, loopback).await;
    }
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

async fn get<B>(state: &Arc<PageState>, request: &Request<B>, loopback: bool) -> Answer {
    let path = request.uri().path();
    let query = match Query::parse(request.uri().query().unwrap_or("")) {
        Ok(query) => query,
        Err(sentence) => return text(StatusCode::BAD_REQUEST, &sentence),
    };
    let shows = match path {
        "/healthz" | "/readyz" => Shows::Health,
        "/metrics" => Shows::Metrics,
        _ => Shows::Data,
    };
    // A token in the address ends up in logs: only the page itself takes it, and hands out the cookie.
    let query_token = query.token.as_deref().filter(|_| path == "/");
    match state.access.check(shows, request.headers(), query_token, loopback) {
        Verdict::ForeignHost => return text(StatusCode::FORBIDDEN, "this Host header is not allowed here"),
        Verdict::NeedsToken => return needs_token(state),
        Verdict::Allowed => {}
    }
    let mut response = allowed(state, path, &query, request.headers()).await;
    if let Some(cookie) = query_token.and_then(|_| cookie(state)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn allowed(state: &Arc<PageState>, path: &str, query: &Query, headers: &HeaderMap) -> Answer {
    match path {
        "/healthz" => text(StatusCode::OK, "alive"),
        "/readyz" => ready(state),
        "/metrics" => metrics(state, headers),
        "/api/services" | "/api/flame" | "/download.pb.gz" | "/download.folded" => {
            let now_unix_ns = host::unix_ns();
            match query.span(now_unix_ns) {
                Ok(span) => data(state, path, query.selection.clone(), span, now_unix_ns, headers).await,
                Err(sentence) => text(StatusCode::BAD_REQUEST, &sentence),
            }
        }
        _ => match assets::find(path) {
            Some((media_type, content)) => compressible(media_type, content, headers),
            None => text(StatusCode::NOT_FOUND, "no such page"),
        },
    }
}

fn ready(state: &PageState) -> Answer {
    match (state.readiness)() {
        Ok(()) => text(StatusCode::OK, "ready"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn metrics(state: &PageState, headers: &HeaderMap) -> Answer {
    state.metrics.set(Metric::HistoryBytes, "", state.history.bytes() as f64);
    compressible(PROMETHEUS, state.metrics.render(&state.ledger.snapshot()), headers)
}

fn needs_token(state: &PageState) -> Answer {
    let sentence = match state.access.token {
        Some(_) => "a token is needed: open /?token=<token> once, or send Authorization: Bearer <token>",
        None => "profile data is closed: the agent listens beyond loopback and has no token",
    };
    let mut response = text(StatusCode::UNAUTHORIZED, sentence);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Strict, so that no other site's link carries it; the page itself is answered to the token in the address.
fn cookie(state: &PageState) -> Option<HeaderValue> {
    let token = cookie_value(state.access.token.as_deref()?);
    HeaderValue::from_str(&format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict")).ok()
}

/// Unpacks history on a thread of its own, a bounded number of requests at a time.
async fn data(
    state: &Arc<PageState>,
    path: &str,
    selection: Selection,
    span: Span,
    now_unix_ns: u64,
    headers: &HeaderMap,
) -> Answer {
    let Ok(_permit) = state.queries.acquire().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping");
    };
    let (owned, name) = (Arc::clone(state), path.to_owned());
    let job = move || compute(&owned, &name, &selection, span, now_unix_ns);
    let computed = tokio::task::spawn_blocking(job).await.map_err(anyhow::Error::from).flatten();
    let content = match computed {
        Ok(content) => content,
        Err(error) => {
            tracing::warn!(path, %error, "page request failed");
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made, see the agent's log");
        }
    };
    let file = format!("profile-{}", span.from_unix_ns / 1_000_000_000);
    match path {
        "/download.pb.gz" => download("application/octet-stream", &format!("{file}.pb.gz"), content),
        "/download.folded" => download("text/plain; charset=utf-8", &format!("{file}.folded"), content),
        _ => compressible(JSON, content, headers),
    }
}

fn compute(
    state: &PageState,
    path: &str,
    selection: &Selection,
    span: Span,
    now_unix_ns: u64,
) -> anyhow::Result<Vec<u8>> {
    let mut profiles = state.history.profiles(span.from_unix_ns, span.to_unix_ns);
    let mut encode = |encode: &Encode| encode(&mut profiles, selection);
    match path {
        "/download.pb.gz" => encode(&state.downloads.pprof),
        "/download.folded" => encode(&state.downloads.folded),
        "/api/flame" => Ok(serde_json::to_vec(&json::flame(&flame::tree(profiles, selection)))?),
        _ => Ok(serde_json::to_vec(&json::services(state, span, now_unix_ns, &services::services(profiles)))?),
    }
}
