//! The same over HTTP.

use super::*;
use ::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesPartialSuccess, ExportProfilesServiceResponse,
};
use prost::Message;
use std::convert::Infallible;
use std::io::Read;

type Script = fn(usize, &ExportProfilesServiceRequest) -> Response<Full<Bytes>>;
type Seen = Arc<Mutex<Vec<(String, HeaderMap, ExportProfilesServiceRequest)>>>;

fn serve(listener: TcpListener, script: Script) -> Seen {
    let seen = Seen::default();
    let result = Arc::clone(&seen);
    let answer = move |request: ::http::Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let mut plain = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
            let request = ExportProfilesServiceRequest::decode(plain.as_slice()).unwrap();
            let mut seen = seen.lock().unwrap();
            let response = script(seen.len(), &request);
            seen.push((format!("{} {}", head.method, head.uri), head.headers, request));
            Ok::<_, Infallible>(response)
        }
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(answer.clone())));
        }
    });
    result
}

fn status(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Full::from(body)).unwrap()
}

fn partial(rejected_profiles: i64) -> Response<Full<Bytes>> {
    let partial = ExportProfilesPartialSuccess { rejected_profiles, error_message: "why".into() };
    let body = ExportProfilesServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    Response::new(Full::from(body))
}

#[tokio::test]
async fn an_accepted_part_arrives_below_the_path() {
    let (listener, address) = listener().await;
    let seen = serve(listener, |_, _| status(200, ""));
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "open sesame").unwrap();
    let config = ExportConfig {
        endpoints: vec![format!("http://{address}/otlp").parse().unwrap()],
        tenant: Some("team-a".into()),
        auth: Auth::Basic { user: "Aladdin".into(), password_file },
        ..config(&[], Protocol::Http)
    };
    let sent = part("shop", 3);
    let bench = Bench::start(config, vec![sent.clone()]);
    assert_eq!(bench.settled().await.exported, 3);
    let seen = seen.lock().unwrap();
    let (line, headers, request) = &seen[0];
    assert_eq!(line, "POST /otlp/v1development/profiles");
    assert_eq!(*request, sent.request);
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["x-scope-orgid"], "team-a");
    assert_eq!(headers["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

#[tokio::test]
async fn every_class_of_answer() {
    let cases: [(Script, &str, usize, f64); 7] = [
        (|_, _| status(400, "failed: invalid_argument"), "refused", 1, 0.0),
        (|_, _| status(401, "no org id"), "refused", 1, 0.0),
        (|_, _| partial(1), "rejected", 1, 0.0),
        (|_, _| partial(0), "exported", 1, 0.0),
        (|n, _| if n == 0 { status(500, "resource_exhausted") } else { status(200, "") }, "exported", 2, 0.0),
        (|n, _| if n == 0 { status(502, "bad gateway") } else { status(200, "") }, "exported", 2, 4.0),
        (|_, r| if stacks(r) > 2 { status(413, "") } else { status(200, "not protobuf") }, "exported", 3, 0.0),
    ];
    for (script, end, requests, ambiguous) in cases {
        let (listener, address) = listener().await;
        let seen = serve(listener, script);
        let bench = Bench::start(config(&[address], Protocol::Http), vec![part("shop", 4)]);
        let snapshot = bench.settled().await;
        let ended = if end == "exported" { snapshot.exported } else { dropped(&snapshot, end) };
        assert_eq!((ended, seen.lock().unwrap().len(), bench.ambiguous()), (4, requests, ambiguous), "{end}");
    }
}

#[tokio::test]
async fn retry_after_is_honoured_and_hostile_bodies_bounded() {
    let (listener, address) = listener().await;
    let seen = serve(listener, |n, _| match n {
        0 => {
            let body = Full::from("\u{1b}[31m x".repeat(1_000_000));
            Response::builder().status(429).header("retry-after", "1").body(body).unwrap()
        }
        _ => status(200, ""),
    });
    let started = Instant::now();
    let bench = Bench::start(config(&[address], Protocol::Http), vec![part("shop", 4)]);
    while bench.exporter.status().last_error.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = bench.exporter.status().last_error.unwrap();
    assert!(error.len() <= 600 && !error.contains('\u{1b}'), "{error}");
    assert_eq!(bench.settled().await.exported, 4);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(seen.lock().unwrap().len(), 2);
}
