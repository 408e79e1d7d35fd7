//! Endpoints that are not there, go away, come back; and ours that stop.

use super::grpc::{Reply, Stub};
use super::*;
use prost::Message;
use tokio::io::AsyncReadExt;

async fn rebind(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).await.unwrap()
}

/// A port where nobody listens.
async fn dead() -> SocketAddr {
    listener().await.1
}

#[tokio::test]
async fn a_dead_endpoint_that_comes_alive_gets_everything() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let address = dead().await;
        let parts = (0..20).map(|n| part(&format!("s{n}"), 5)).collect();
        let bench = Bench::start(config(&[address], protocol), parts);
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(bench.balanced().pending, 100);
        let status = bench.exporter.status();
        assert_eq!(status.backlog_parts, 20);
        assert!(status.last_error.unwrap().to_lowercase().contains("refused"));
        let tries = bench.requests("unreachable");
        assert!((1.0..20.0).contains(&tries), "{tries} tries: parts do not each knock");
        if protocol == Protocol::Grpc {
            let stub = Stub::serve(rebind(address).await, |_, _| Reply::Accept);
            assert_eq!(bench.settled().await.exported, 100);
            assert_eq!(stub.count(), 20);
            assert_eq!(bench.ambiguous(), 0.0, "nothing was ever on its way");
        } else {
            bench.exporter.drain(Instant::now() + Duration::from_secs(5)).await;
            assert_eq!(dropped(&bench.ledger.snapshot(), "shutdown"), 100);
        }
    }
}

#[tokio::test]
async fn a_connection_closed_mid_request_is_ambiguous() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let (listener, address) = listener().await;
        let bench = Bench::start(config(&[address], protocol), vec![part("shop", 4)]);
        let (mut stream, _) = listener.accept().await.unwrap();
        // Past HTTP/2's preface and settings, into the request.
        let mut read = 0;
        while read < 150 {
            read += stream.read(&mut [0; 4096]).await.unwrap();
        }
        drop((stream, listener));
        while bench.requests("ambiguous") == 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(bench.balanced().pending, 4);
        if protocol == Protocol::Grpc {
            Stub::serve(rebind(address).await, |_, _| Reply::Accept);
            assert_eq!(bench.settled().await.exported, 4);
            assert_eq!(bench.ambiguous(), 4.0);
        }
    }
}

#[tokio::test]
async fn fails_over_and_returns_to_the_first() {
    let first = dead().await;
    let (listener, second) = listener().await;
    let backup = Stub::serve(listener, |_, _| Reply::Accept);
    let parts = (0..4).map(|n| part(&format!("s{n}"), 5)).collect();
    let bench = Bench::start(config(&[first, second], Protocol::Grpc), parts);
    assert_eq!(bench.settled().await.exported, 20);
    assert_eq!((backup.count(), bench.ambiguous()), (4, 0.0));
    let preferred = Stub::serve(rebind(first).await, |_, _| Reply::Accept);
    let mut more = 0;
    while preferred.count() == 0 {
        more += 1;
        assert!(more < 300, "never returned");
        bench.exporter.send(vec![(part("more", 1), bench.ledger.receive(&[], 1))], None);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_full_backlog_drops_the_oldest() {
    let address = dead().await;
    let parts: Vec<_> = (0..10).map(|n| part(&format!("s{n}"), 100)).collect();
    let max_backlog_bytes = parts[0].request.encoded_len() * 4 + 100;
    let config = ExportConfig { max_backlog_bytes, concurrency: 1, ..config(&[address], Protocol::Grpc) };
    let bench = Bench::start(config, parts);
    let snapshot = bench.balanced();
    assert_eq!((dropped(&snapshot, "backlog_full"), snapshot.pending), (600, 400));
    assert!(bench.exporter.status().backlog_bytes <= max_backlog_bytes);
    let stub = Stub::serve(rebind(address).await, |_, _| Reply::Accept);
    assert_eq!(bench.settled().await.exported, 400);
    let name = |request: &ExportProfilesServiceRequest| {
        format!("{:?}", request.resource_profiles[0].resource.as_ref().unwrap().attributes[0].value)
    };
    let seen = stub.seen.lock().unwrap();
    assert!(name(&seen[0].request).contains("s6") && name(&seen[3].request).contains("s9"));
}

#[tokio::test]
async fn draining_sends_what_is_left_and_ends_in_time() {
    let (listener, address) = listener().await;
    Stub::serve(
        listener,
        |n, _| if n < 3 { Reply::Fail(tonic::Status::resource_exhausted("")) } else { Reply::Accept },
    );
    let config = ExportConfig { concurrency: 1, ..config(&[address], Protocol::Grpc) };
    let bench = Bench::start(config.clone(), vec![part("a", 1), part("b", 2), part("c", 4)]);
    while bench.requests("retry") < 3.0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.exporter.drain(Instant::now() + Duration::from_secs(5)).await;
    let snapshot = bench.ledger.snapshot();
    assert_eq!((snapshot.exported, snapshot.balances()), (7, true), "{snapshot}");

    let (listener, address) = super::listener().await;
    Stub::serve(listener, |_, _| Reply::Hang);
    let bench = Bench::start(
        ExportConfig { timeout: Duration::from_secs(60), ..super::config(&[address], Protocol::Grpc) },
        (0..10).map(|_| part("hangs", 3)).collect(),
    );
    let started = Instant::now();
    bench.exporter.drain(started + Duration::from_millis(400)).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    let snapshot = bench.ledger.snapshot();
    assert_eq!((dropped(&snapshot, "shutdown"), snapshot.balances()), (30, true), "{snapshot}");
}

#[tokio::test]
async fn an_exporter_let_go_says_where_its_samples_went() {
    let (listener, address) = listener().await;
    let stub = Stub::serve(listener, |_, _| Reply::Hang);
    let Bench { exporter, ledger, .. } =
        Bench::start(config(&[address], Protocol::Grpc), (0..10).map(|_| part("x", 3)).collect());
    while stub.count() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(exporter);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let snapshot = ledger.snapshot();
    assert_eq!((dropped(&snapshot, "shutdown"), snapshot.balances()), (30, true), "{snapshot}");
}

#[tokio::test]
async fn an_unreadable_token_waits_for_the_file() {
    let (listener, address) = listener().await;
    let stub = Stub::serve(listener, |_, _| Reply::Accept);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let config = ExportConfig { auth: Auth::BearerFile(token.clone()), ..config(&[address], Protocol::Grpc) };
    let bench = Bench::start(config, vec![part("shop", 3)]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bench.exporter.status().last_error.unwrap().starts_with("bearer token file: "));
    assert_eq!((stub.count(), bench.balanced().pending), (0, 3));
    std::fs::write(&token, "now").unwrap();
    assert_eq!(bench.settled().await.exported, 3);
}

#[tokio::test]
async fn no_endpoint_is_an_error() {
    assert!(Exporter::start(&ExportConfig::new(Vec::new()), Arc::default(), None).is_err());
}
