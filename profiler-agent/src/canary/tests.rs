//! The canary against a server on loopback that answers what it is told to.

use super::*;
use crate::export::Auth;
use std::collections::VecDeque;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const INTERVAL: Duration = Duration::from_millis(10);

struct Bench {
    canary: Canary,
    metrics: Arc<Metrics>,
    /// Heads and bodies of the questions.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// The last answer is given again and again.
    async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pyroscope/", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
        tokio::spawn(serve(listener, answers, Arc::clone(&asked)));
        let config = CanaryConfig { url, tenant: Some("team-a".into()), auth: Auth::None, ca_file: None };
        let metrics = Arc::<Metrics>::default();
        let canary = Canary::start(&config, INTERVAL, Arc::clone(&metrics)).unwrap();
        Self { canary, metrics, asked }
    }

    /// Sends windows one after the other, each once the one before was judged.
    async fn windows(&self, count: usize) {
        let checks = || OUTCOMES.iter().map(|outcome| self.metrics.get(Metric::CanaryChecks, outcome)).sum::<f64>();
        for _ in 0..count {
            let before = checks();
            self.canary.sent(window());
            let started = Instant::now();
            while checks() == before {
                assert!(started.elapsed() < Duration::from_secs(30), "no verdict");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn outcomes(&self) -> [f64; 4] {
        OUTCOMES.map(|outcome| self.metrics.get(Metric::CanaryChecks, outcome))
    }
}

const OUTCOMES: [&str; 4] = ["equal", "less", "more", "unreadable"];

fn window() -> Sent {
    let labels = vec![(Arc::from("host.name"), Arc::from("n1"))];
    Sent { start_unix_ns: 5_000_000, duration_ns: 1, value_ns: 7, labels }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn sum(total: u64) -> String {
    ok(&format!(r#"{{"flamegraph":{{"total":"{total}"}}}}"#))
}

async fn serve(listener: TcpListener, mut answers: VecDeque<String>, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        while !text.ends_with('}') {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        asked.lock().unwrap().push(text);
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let _ = stream.write_all(answer.unwrap().as_bytes()).await;
    }
}

#[tokio::test]
async fn what_comes_late_is_equal_all_the_same() {
    let bench = Bench::start(&[&sum(0), &sum(3), &sum(7)]).await;
    bench.windows(2).await;
    assert_eq!(bench.outcomes(), [2.0, 0.0, 0.0, 0.0]);
    let asked = bench.asked.lock().unwrap();
    assert_eq!(asked.len(), 4);
    assert!(asked[0].starts_with("POST /pyroscope/querier.v1.QuerierService/SelectMergeStacktraces HTTP/1.1\r\n"));
    assert!(
        asked[0].contains("\r\nx-scope-orgid: team-a\r\n") && asked[0].contains(r#"{host_name=\"n1\"}"#),
        "{asked:?}"
    );
}

#[tokio::test]
async fn three_windows_that_cannot_be_read_are_not_ready_until_one_can() {
    let refused = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno";
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{}", "x".repeat(200_000));
    let less = sum(6);
    let answers: Vec<&str> = [vec![refused; 4], vec![&less; 4], vec![&long; 3], vec![refused]].concat();
    let bench = Bench::start(&[&answers[..], &[&sum(8)]].concat()).await;
    bench.windows(2).await;
    assert_eq!(bench.canary.readiness(), Ok(()));
    bench.windows(1).await;
    let reason = "canary: 3 windows in a row could not be read back from the server: HTTP 401: no";
    assert_eq!(bench.canary.readiness(), Err(reason.into()));
    assert_eq!(bench.outcomes(), [0.0, 1.0, 0.0, 2.0]);
    bench.windows(1).await;
    assert_eq!((bench.canary.readiness(), bench.outcomes()), (Ok(()), [0.0, 1.0, 1.0, 2.0]));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreadable() {
    let url = "http://127.0.0.1:1".parse().unwrap();
    let config = CanaryConfig { url, tenant: None, auth: Auth::None, ca_file: None };
    let metrics = Arc::<Metrics>::default();
    let canary = Canary::start(&config, INTERVAL, Arc::clone(&metrics)).unwrap();
    let bench = Bench { canary, metrics, asked: Arc::default() };
    bench.windows(3).await;
    let reason = bench.canary.readiness().unwrap_err();
    assert!(reason.contains("Connection refused"), "{reason}");
}

#[tokio::test]
async fn a_window_is_sent_when_every_part_was_accepted() {
    let bench = Bench::start(&[&sum(7)]).await;
    let mut windows = bench.canary.newest.subscribe();
    let (first, lost) = (bench.canary.receipt(window()), bench.canary.receipt(window()));
    let half = first.clone();
    first.accepted();
    assert!(!windows.has_changed().unwrap());
    half.accepted();
    assert!(windows.has_changed().unwrap());
    windows.mark_unchanged();
    lost.clone().accepted();
    drop(lost);
    assert!(!windows.has_changed().unwrap());
}
