//! Answers to list and watch.

use super::{State, TOKEN, lock};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, Response};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Body = BoxBody<Bytes, Infallible>;

/// How often a watch looks for changes.
const LOOK: Duration = Duration::from_millis(10);

pub(super) async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    lock(&state).requests.push(format!("{path}?{query}"));
    if request.headers().get(AUTHORIZATION).is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
        return Ok(whole(401, &status(401, "Unauthorized", "Unauthorized")));
    }
    let (resource, kind) = match path.as_str() {
        "/api/v1/pods" => ("pods", "PodList"),
        // The kubelet's, without a version.
        "/pods" => ("kubelet", "PodList"),
        "/api/v1/namespaces" => ("namespaces", "NamespaceList"),
        _ => return Ok(whole(404, &status(404, "NotFound", "the server could not find the requested resource"))),
    };
    if lock(&state).forbidden.contains(&resource) {
        let message =
            format!("{resource} is forbidden: User \"system:serviceaccount:profiler:agent\" cannot list resource");
        return Ok(whole(403, &status(403, "Forbidden", &message)));
    }
    let wanted = Wanted { resource, node: parameter(&query, "fieldSelector") };
    if parameter(&query, "watch").is_some() {
        let since = parameter(&query, "resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        return Ok(watch(state, wanted, since));
    }
    let state = lock(&state);
    let items: Vec<&Value> =
        state.objects.iter().filter(|(of, object)| wanted.has(of, object)).map(|(_, object)| object).collect();
    let list = json!({
        "kind": kind, "apiVersion": "v1", "metadata": { "resourceVersion": state.version.to_string() }, "items": items
    });
    Ok(whole(200, &list))
}

/// What a request asks for.
struct Wanted {
    resource: &'static str,
    /// `spec.nodeName=NAME`.
    node: Option<String>,
}

impl Wanted {
    fn has(&self, resource: &str, object: &Value) -> bool {
        let node = self.node.as_deref().map(|field| field.strip_prefix("spec.nodeName=").expect("a known selector"));
        let same = resource == self.resource || (resource, self.resource) == ("pods", "kubelet");
        same && node.is_none_or(|node| object["spec"]["nodeName"] == node)
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.replace("%3D", "=").replace("%2C", ","))
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code })
}

fn whole(code: u16, body: &Value) -> Response<Body> {
    response(code, Full::new(Bytes::from(body.to_string())).boxed())
}

fn response(code: u16, body: Body) -> Response<Body> {
    let response = Response::builder().status(code).header(CONTENT_TYPE, "application/json");
    response.body(body).expect("an answer")
}

fn watch(state: Arc<Mutex<State>>, wanted: Wanted, since: u64) -> Response<Body> {
    let (sender, body) = Channel::<Bytes, Infallible>::new(16);
    tokio::spawn(send(state, wanted, since, sender));
    response(200, body.boxed())
}

/// Sends changes, a line each, until told to end.
async fn send(state: Arc<Mutex<State>>, wanted: Wanted, mut since: u64, mut sender: Sender<Bytes>) {
    let begun = lock(&state).ended;
    loop {
        let (lines, over) = {
            let state = lock(&state);
            let mut lines = String::new();
            if since < state.oldest {
                let gone = status(410, "Expired", "too old resource version");
                lines = format!("{}\n", json!({ "type": "ERROR", "object": gone }));
            } else {
                for change in state.changes.iter().filter(|change| change.version > since) {
                    if wanted.has(change.resource, &change.object) {
                        lines += &format!("{}\n", json!({ "type": change.kind, "object": change.object }));
                    }
                }
            }
            let over = since < state.oldest || state.ended != begun;
            since = since.max(state.version);
            (lines, over)
        };
        if !lines.is_empty() && sender.send_data(Bytes::from(lines)).await.is_err() || over {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
