//! Routes over a real socket, spoken to as a client would that is not ours.

use super::*;
use crate::profile::{FrameKind, Function, Line, Location, Mapping, Process, Sample, Service, Thread};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

static READY: AtomicBool = AtomicBool::new(false);

fn profile() -> Profile {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Profile {
        start_unix_ns: u64::try_from((now - Duration::from_secs(15)).as_nanos()).unwrap(),
        duration_ns: 10_000_000_000,
        period_ns: 10_000_000,
        mappings: vec![Mapping { path: "/bin/a".into(), build_id: "".into() }],
        functions: vec![Function { name: "<b>main".into(), system_name: "main".into(), file: "".into() }],
        locations: vec![Location {
            mapping: 0,
            address: 1,
            kind: FrameKind::Native,
            lines: Box::new([Line { function: 0, line: 0 }]),
        }],
        stacks: vec![Box::new([0])],
        processes: vec![Process { pid: 7, start_ns: 0, name: "a".into() }],
        threads: vec![Thread { process: 0, tid: 8, name: "t".into() }],
        services: vec![Service {
            name: "a service".into(),
            labels: vec![],
            samples: vec![Sample { stack: 0, thread: 0, count: 5 }],
        }],
    }
}

fn count_samples() -> Encode {
    Box::new(|profiles, selection| {
        let service = selection.service.clone().unwrap_or_default();
        Ok(format!("{service} {}", profiles.map(|profile| profile.sample_count()).sum::<u64>()).into_bytes())
    })
}

fn state(access: Access) -> Arc<PageState> {
    let history = Arc::new(History::default());
    history.add(&profile()).unwrap();
    let readiness: Readiness = Box::new(|| match READY.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("no samples yet".into()),
    });
    Arc::new(PageState::new(
        history,
        Arc::default(),
        Arc::default(),
        readiness,
        Downloads { pprof: count_samples(), folded: count_samples() },
        Title { host: "box".into(), interval_ms: 10_000, ..Title::default() },
        access,
    ))
}

/// Serves on a port of its own while `check` runs.
fn with_server(address: Ipv4Addr, access: Access, check: impl FnOnce(SocketAddr) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let mut reached = listener.local_addr().unwrap();
        reached.set_ip(Ipv4Addr::LOCALHOST.into());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, state(access), async {
            let _ = stopped.await;
        }));
        tokio::task::spawn_blocking(move || check(reached)).await.unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap().unwrap();
    });
}

/// The whole response to one request with these header lines.
fn ask(address: SocketAddr, first_line: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("{first_line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path}"), "Host: localhost\r\n")
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or(response)
}

fn json(response: &str) -> serde_json::Value {
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn answers_every_route() {
    with_server(Ipv4Addr::LOCALHOST, Access::default(), |address| {
        for path in ["/", "/app.js", "/app.css", "/flame.js", "/healthz", "/favicon.svg"] {
            assert_eq!(status(&get(address, path)), "200", "{path}");
        }
        assert_eq!(status(&get(address, "/etc/passwd")), "404");
        assert_eq!(status(&get(address, "/api/flame?pid=x")), "400");
        assert_eq!(status(&get(address, "/api/flame?from=x")), "400");
        assert!(get(address, "/metrics").contains("\nprofiler_samples_taken_total 0\n"));
        let page = get(address, "/").to_lowercase();
        assert!(page.contains("content-security-policy: default-src 'none'"));
        assert!(page.contains("x-content-type-options: nosniff") && page.contains("cache-control: no-store"));
    });
}

#[test]
fn data_is_selected_and_encoded() {
    with_server(Ipv4Addr::LOCALHOST, Access::default(), |address| {
        let services = json(&get(address, "/api/services"));
        assert_eq!(services["services"][0]["name"], "a service");
        assert_eq!(services["services"][0]["processes"][0]["threads"][0]["tid"], 8);
        assert_eq!((&services["cpu_ns"], &services["host"]), (&50_000_000.into(), &"box".into()));
        let flame = json(&get(address, "/api/flame?service=a+service&pid=7&tid=8&from=now-5m&to=now"));
        assert_eq!(flame["nodes"], serde_json::json!([[0, 0, 0, 50_000_000], [1, 1, 50_000_000, 50_000_000]]));
        assert_eq!(flame["frames"][1], serde_json::json!(["<b>main", "/bin/a", "native"]));
        assert_eq!(json(&get(address, "/api/flame?service=b"))["total_ns"], 0);
        assert_eq!(json(&get(address, "/api/flame?to=5"))["total_ns"], 0);
        for path in ["/download.folded?service=a%20service", "/download.pb.gz?service=a%20service"] {
            let response = get(address, path);
            assert!(response.ends_with("\r\n\r\na service 5"), "{response}");
            assert!(response.contains("attachment; filename=\"profile-"), "{response}");
        }
    });
}

#[test]
fn readiness_says_why_not() {
    with_server(Ipv4Addr::LOCALHOST, Access::default(), |address| {
        let response = get(address, "/readyz");
        assert_eq!(status(&response), "503");
        assert!(response.ends_with("no samples yet\n"));
        READY.store(true, Ordering::Relaxed);
        assert_eq!(status(&get(address, "/readyz")), "200");
    });
}

#[test]
fn refuses_foreign_hosts_and_methods() {
    with_server(Ipv4Addr::LOCALHOST, Access::default(), |address| {
        assert_eq!(status(&ask(address, "GET /metrics", "Host: evil.example\r\n")), "403");
        assert_eq!(status(&ask(address, "GET /metrics", "")), "403");
        assert_eq!(status(&ask(address, "POST /", "Host: localhost\r\nContent-Length: 0\r\n")), "405");
        let head = ask(address, "HEAD /app.js", "Host: localhost\r\n");
        assert!(status(&head) == "200" && head.ends_with("\r\n\r\n"), "{head}");
        let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
        assert_eq!(status(&ask(address, "GET /", &many)), "431");
    });
}

#[test]
fn the_token_is_taken_once_and_becomes_a_cookie() {
    let access = Access { token: Some("s3cret".into()), ..Access::default() };
    with_server(Ipv4Addr::UNSPECIFIED, access, |address| {
        assert_eq!(status(&get(address, "/")), "401");
        assert_eq!(status(&get(address, "/api/services?token=s3cret")), "401");
        assert_eq!(status(&get(address, "/metrics")), "401");
        assert_eq!(status(&ask(address, "GET /healthz", "Host: probe\r\n")), "200");
        let page = get(address, "/?token=s3cret");
        assert_eq!(status(&page), "200");
        let cookie = page.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
        let headers = format!("Host: localhost\r\nCookie: {}\r\n", cookie.split(';').next().unwrap());
        assert_eq!(status(&ask(address, "GET /api/services", &headers)), "200");
        let bearer = "Host: localhost\r\nAuthorization: Bearer s3cret\r\n";
        assert_eq!(status(&ask(address, "GET /metrics", bearer)), "200");
    });
}
