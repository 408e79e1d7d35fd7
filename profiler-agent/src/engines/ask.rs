//! One question on one socket: what an engine knows of containers, by their ids.

use super::listing::{Described, described};
use super::problem::Problem;
use crate::export::{USER_AGENT, bounded};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// For the whole.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Bytes of an answer: a container takes two or three thousand.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What an engine said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What it calls itself.
    pub(super) server: String,
    /// Those of the containers that it knows.
    pub(super) containers: Vec<Described>,
}

/// Asks for these containers and no others, whether they run or have ended.
pub(super) async fn ask(socket: &Path, ids: &[Arc<str>]) -> Result<Answer, Problem> {
    let asked = tokio::time::timeout(PATIENCE, answer(socket, ids)).await;
    let mut answer = asked.unwrap_or(Err(Problem::Late(PATIENCE)))?;
    // Whatever else it lists was not asked for.
    answer.containers.retain(|container| ids.contains(&container.id));
    answer.containers.truncate(ids.len());
    Ok(answer)
}

async fn answer(socket: &Path, ids: &[Arc<str>]) -> Result<Answer, Problem> {
    let stream = UnixStream::connect(socket).await.map_err(|error| Problem::of_connect(&error))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| Problem::of_http(&error))?;
    let answered = async {
        let response = sender.send_request(request(ids)?).await.map_err(|error| Problem::of_http(&error))?;
        read(response).await
    };
    // What the connection's end means is for the answer to say.
    let connection = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answered => answer,
        never = connection => never,
    }
}

fn request(ids: &[Arc<str>]) -> Result<Request<Empty<Bytes>>, Problem> {
    // `{"id":["…","…"]}`: ids are hexadecimal digits.
    let ids = ids.join("%22%2C%22");
    let target = format!("/containers/json?all=true&filters=%7B%22id%22%3A%5B%22{ids}%22%5D%7D");
    let request = Request::get(target)
        .header(header::HOST, HeaderValue::from_static("localhost"))
        .header(header::USER_AGENT, HeaderValue::from_static(USER_AGENT))
        .body(Empty::new());
    request.map_err(|error| Problem::Unreachable(error.to_string()))
}

async fn read(response: Response<Incoming>) -> Result<Answer, Problem> {
    let status = response.status();
    let server = response.headers().get(header::SERVER).and_then(|server| server.to_str().ok()).map(bounded);
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).map_err(|error| match error.is::<LengthLimitError>() {
        true => Problem::TooLarge,
        false => Problem::Malformed(bounded(&error.to_string())),
    })?;
    if !status.is_success() {
        let text = bounded(&String::from_utf8_lossy(&body));
        return Err(Problem::Refused(format!("{}: {}", status.as_u16(), text.trim())));
    }
    let containers = described(&body).map_err(|error| Problem::Malformed(bounded(&error.to_string())))?;
    Ok(Answer { server: server.unwrap_or_else(|| "an engine".into()), containers })
}
