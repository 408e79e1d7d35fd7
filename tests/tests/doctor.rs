//! `doctor` asks the endpoints themselves: whether they can be reached, and whether they read what is sent to them.

use profiler_tests::agent::binary;
use profiler_tests::pyroscope::Pyroscope;
use profiler_tests::stub::{Answer, Code, Protocol, Status, Stub};
use profiler_tests::workload::{free_port, http_post_json};
use serde_json::Value;
use std::process::Command;

/// Its exit code, and the findings about endpoints.
fn doctor(arguments: &[&str]) -> (i32, Vec<Value>) {
    let output = Command::new(binary()).args(["doctor", "--json"]).args(arguments).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let checks: Vec<Value> = checks.filter(|check| check["name"] == "endpoint").cloned().collect();
    let code = output.status.code().unwrap();
    assert_eq!(report["ok"], code == 0, "{report:#}");
    (code, checks)
}

/// What is wrong with one endpoint, and what mends it.
#[track_caller]
fn refused(arguments: &[&str], found: &str, fix: &str) {
    let (code, checks) = doctor(arguments);
    assert_eq!((code, checks.len()), (1, 1), "{checks:#?}");
    assert_eq!(checks[0]["status"], "fail");
    assert!(checks[0]["found"].as_str().unwrap().contains(found), "no {found:?} in {:#}", checks[0]);
    assert!(checks[0]["fix"].to_string().contains(fix), "no {fix:?} in {:#}", checks[0]);
}

#[test]
fn a_real_pyroscope_reads_this_version_and_stores_nothing() {
    let server = Pyroscope::start();
    for protocol in ["grpc", "http"] {
        let (code, checks) = doctor(&["--endpoint", &server.url(), "--protocol", protocol]);
        let found = checks[0]["found"].as_str().unwrap();
        assert_eq!(code, 0, "{checks:#?}");
        assert!(found.contains("Pyroscope; reads OTLP profiles v1development (proto 1.10)"), "{found}");
    }
    let query = r#"{"start": "0", "end": "4102444800000"}"#;
    let answer = http_post_json(&server.address, "/querier.v1.QuerierService/Series", query).unwrap();
    assert_eq!(answer.0, 200, "{answer:?}");
    assert!(!answer.1.contains("service_name"), "something was stored: {}", answer.1);
}

#[test]
fn what_stands_in_the_way_of_an_endpoint_comes_with_what_mends_it() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    refused(&["--endpoint", &nobody], "cannot be reached over TCP", "4040");
    refused(&["--endpoint", "http://nowhere.invalid:4040"], "looked up", "ClusterFirstWithHostNet");
    let clear = Stub::start(Protocol::Http, |_| Answer::Accept);
    let encrypted = clear.endpoint().replace("http://", "https://");
    refused(&["--endpoint", &encrypted, "--protocol", "http"], "no connection beyond TCP", "does not speak TLS");
    refused(
        &["--endpoint", &clear.endpoint(), "--bearer-token-file", "/nowhere/token"],
        "/nowhere/token",
        "make the file readable",
    );
    let closed = Stub::start(Protocol::Http, |_| Answer::Http(401, None, "who are you"));
    refused(&["--endpoint", &closed.endpoint(), "--protocol", "http"], "who are you", "--bearer-token-file");
    let tenants = Stub::start(Protocol::Grpc, |_| Answer::Grpc(Status::new(Code::Internal, "status: 401, no org id")));
    refused(&["--endpoint", &tenants.endpoint()], "no org id", "--tenant");
    let unknown = Stub::start(Protocol::Grpc, |_| Answer::Grpc(Status::unimplemented("unknown service")));
    refused(&["--endpoint", &unknown.endpoint()], "unknown service", "another --protocol (http)");
}

/// An earlier version has its fields elsewhere: it finds nothing wrong with a request that makes no sense.
#[test]
fn a_server_of_an_earlier_version_is_found_out() {
    let earlier = Stub::start(Protocol::Grpc, |arrival| match arrival.request.resource_profiles.is_empty() {
        true => Answer::Grpc(Status::invalid_argument("missing resource profiles")),
        false => Answer::Accept,
    });
    refused(&["--endpoint", &earlier.endpoint()], "earlier version", "Pyroscope 1.21");
    assert_eq!(earlier.requests(), 2);
}

#[test]
fn a_collector_is_sent_nothing_that_it_would_pass_on() {
    let collector = Stub::start(Protocol::Grpc, |_| Answer::Accept);
    let (code, checks) = doctor(&["--endpoint", &collector.endpoint()]);
    assert_eq!(code, 0, "{checks:#?}");
    assert!(checks[0]["found"].as_str().unwrap().contains("takes OTLP over gRPC"), "{checks:#?}");
    let arrivals = collector.arrivals();
    assert_eq!(arrivals.len(), 1);
    assert!(arrivals[0].request.resource_profiles.is_empty());
}

#[test]
fn every_endpoint_of_every_origin_is_asked() {
    let stub = Stub::start(Protocol::Grpc, |_| Answer::Accept);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    std::fs::write(&file, format!("endpoint = [\"{}\", \"{nobody}\"]\n", stub.endpoint())).unwrap();
    let (code, checks) = doctor(&["--config", file.to_str().unwrap()]);
    let statuses: Vec<&Value> = checks.iter().map(|check| &check["status"]).collect();
    assert_eq!((code, statuses), (1, vec![&Value::from("ok"), &Value::from("fail")]), "{checks:#?}");
    let output = Command::new(binary()).arg("doctor").env("PROFILER_ENDPOINT", &nobody).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&nobody) && text.contains("fix: start the server"), "{text}");
}
