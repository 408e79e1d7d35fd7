use super::*;
use crate::bpf::Clock;
use crate::config::show;
use crate::exit::{self, Failure};
use crate::export::Protocol;
use crate::otlp::LabelStyle;
use crate::process::NameSource;
use std::time::Duration;

fn flags(given: &[(&'static str, &str)]) -> Layer {
    let mut layer = Layer::default();
    for &(key, text) in given {
        layer.add(key, text, Origin::Flag(key));
    }
    layer
}

fn variables<'a>(given: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
    move |name| given.iter().find(|(known, _)| *known == name).map(|(_, text)| OsString::from(text))
}

fn run_with(given: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Result<RunConfig, Mistakes> {
    run(&flags(given), &variables(environment))
}

fn mistakes(result: Result<RunConfig, Mistakes>) -> Vec<String> {
    result.unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = run_with(&[], &[]).unwrap();
    assert_eq!((config.sample.frequency, config.sample.event), (99, Clock::CpuClock));
    assert!(config.sample.kernel_stacks && config.export.endpoints.is_empty() && !config.metrics_open);
    assert_eq!((config.interval, config.export.protocol), (Duration::from_secs(10), Protocol::Grpc));
    assert_eq!(config.listen.unwrap().to_string(), "127.0.0.1:4041");
    assert_eq!(config.sample.label_style, LabelStyle::Underscore);
    assert_eq!(config.sample.service_name_from.len(), 7);
    assert_eq!(config.sample.log, LogConfig { level: Level::INFO, json: false });
    assert_eq!(run_with(&[("endpoint", "http://h:1")], &[]).unwrap().sample.frequency, 19);
    let recording = record(&flags(&[]), vec![], &|_| None).unwrap();
    assert_eq!((recording.sample.frequency, recording.duration, recording.output), (99, None, None));
    assert_eq!(recording.sample.log.level, Level::INFO);
}

#[test]
fn flags_count_over_environment_over_file() {
    let file = file("frequency = 1\ninterval = \"1s\"\nprotocol = \"http\"\npid = [7, 8]\n");
    let path = file.path().to_str().unwrap();
    let environment = [("PROFILER_CONFIG", path), ("PROFILER_INTERVAL", "2s"), ("PROFILER_FREQUENCY", "2")];
    let config = run_with(&[("frequency", "3"), ("pid", "9")], &environment).unwrap();
    assert_eq!((config.sample.frequency, config.interval), (3, Duration::from_secs(2)));
    assert_eq!((config.export.protocol, config.sample.pids), (Protocol::Http, vec![9]));
    assert_eq!(run_with(&[("listen", "off")], &[]).unwrap().listen, None);
}

#[test]
fn endpoints_of_open_telemetry_count_in_order() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4317");
    let profiles = ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "http://profiles:1/v1development/profiles");
    let own = ("PROFILER_ENDPOINT", "http://a:1, http://b:2");
    let hosts = |environment: &[(&str, &str)]| {
        let endpoints = run_with(&[], environment).unwrap().export.endpoints;
        endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(hosts(&[general]), "http://general:4317/");
    assert_eq!(hosts(&[general, profiles]), "http://profiles:1/");
    assert_eq!(hosts(&[general, profiles, own]), "http://a:1/ http://b:2/");
    assert_eq!(hosts(&[general, ("PROFILER_ENDPOINT", "")]), "http://general:4317/");
}

#[test]
fn headers_and_certificate_of_open_telemetry_are_honoured() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20abc, x-a=1"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
    ];
    let config = run_with(&[], &environment).unwrap();
    let headers = [("authorization".to_owned(), "Bearer abc".to_owned()), ("x-a".to_owned(), "1".to_owned())];
    assert_eq!(config.export.headers, headers);
    assert_eq!(config.export.ca_file, Some("/ca.pem".into()));
}

#[test]
fn every_mistake_of_every_layer_is_reported_at_once() {
    let file = file("frequency = \"fast\"\nintervall = \"1s\"\nmetrics-open = 3\n");
    let path = file.path().to_str().unwrap();
    let environment = [("PROFILER_INTERVAL", "10ms"), ("PROFILER_LABEL", "a=1,b")];
    let given = [("config", path), ("frequency", "97"), ("key-file", "k.pem"), ("endpoint", "localhost:4040")];
    let found = mistakes(run_with(&given, &environment));
    let wanted = [
        format!("{path}:1:13: frequency \"fast\" is no number; Hz per CPU from 1 to 10000"),
        format!("{path}:2:1: unknown key \"intervall\"; did you mean interval?"),
        format!("{path}:3:16: metrics-open \"3\" is no switch; true or false"),
        "environment PROFILER_INTERVAL: interval \"10ms\" is too short; 1s to 1h".into(),
        "environment PROFILER_LABEL: label \"b\" has no =; KEY=VALUE".into(),
        "flag --endpoint: endpoint \"localhost:4040\" has no http:// or https:// in front; \
         such as http://localhost:4040 or https://profiles.example.com"
            .into(),
        "flag --key-file: key-file without cert-file; give both or neither".into(),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    let found = mistakes(run_with(&[("config", "/nonexistent/p.toml")], &[]));
    assert_eq!(found, ["/nonexistent/p.toml: cannot be read: No such file or directory (os error 2)"]);
    assert!(crate::config::check_file(Path::new("/nonexistent/p.toml")).is_err());
}

#[test]
fn container_engines_are_asked_unless_told_otherwise() {
    let sockets = |given: &[(&'static str, &str)], environment: &[(&str, &str)]| {
        let sockets = run_with(given, environment).unwrap().container_sockets;
        sockets.iter().map(|socket| socket.display().to_string()).collect::<Vec<_>>().join(" ")
    };
    let variable = ("PROFILER_CONTAINER_SOCKETS", "/run/a.sock, /run/b.sock");
    assert_eq!(sockets(&[], &[]), "/var/run/docker.sock /run/podman/podman.sock");
    assert_eq!(sockets(&[], &[variable]), "/run/a.sock /run/b.sock");
    assert_eq!(sockets(&[("container-sockets", "")], &[variable]), "");
    assert_eq!(sockets(&[], &[("PROFILER_CONTAINER_SOCKETS", "off")]), "");
    for nothing in ["[]", "\"\"", "[\"off\"]"] {
        let file = file(&format!("container-sockets = {nothing}\n"));
        assert_eq!(sockets(&[("config", file.path().to_str().unwrap())], &[]), "", "{nothing}");
    }
    let found = mistakes(run_with(&[("container-sockets", "docker.sock")], &[]));
    let wanted = "container-sockets \"docker.sock\" is no path of a socket; such as /var/run/docker.sock, or off";
    assert_eq!(found, [format!("flag --container-sockets: {wanted}")]);
}

#[test]
fn mistakes_in_flags_alone_are_wrong_usage() {
    let code = |given: &[(&'static str, &str)], environment: &[(&str, &str)]| {
        Failure::from(run_with(given, environment).unwrap_err()).code
    };
    let usage = Failure::from(run_with(&[("frequency", "0"), ("interval", "soon")], &[]).unwrap_err());
    assert_eq!((usage.code, usage.message.lines().count()), (exit::USAGE, 3));
    assert_eq!(code(&[("key-file", "k")], &[]), exit::USAGE);
    assert_eq!(code(&[], &[("PROFILER_FREQUENCY", "0")]), exit::CONFIGURATION);
    assert_eq!(code(&[("frequency", "0")], &[("PROFILER_INTERVAL", "soon")]), exit::CONFIGURATION);
    let basic = [("PROFILER_BASIC_AUTH_USER", "u"), ("PROFILER_BASIC_AUTH_PASSWORD_FILE", "p")];
    assert_eq!(code(&[("bearer-token-file", "t")], &basic), exit::CONFIGURATION);
    let bearer = ("PROFILER_BEARER_TOKEN_FILE", "t");
    assert_eq!(code(&[("basic-auth-user", "u"), ("basic-auth-password-file", "p")], &[bearer]), exit::CONFIGURATION);
}

#[test]
fn contradictions_are_mistakes() {
    let cases: [(&[(&'static str, &str)], &str); 8] = [
        (&[("cert-file", "c")], "flag --cert-file: cert-file without key-file; give both or neither"),
        (
            &[("basic-auth-user", "u")],
            "flag --basic-auth-user: basic-auth-user without basic-auth-password-file; give both or neither",
        ),
        (
            &[("bearer-token-file", "t"), ("basic-auth-user", "u"), ("basic-auth-password-file", "p")],
            "flag --basic-auth-user: bearer-token-file (flag --bearer-token-file) besides basic-auth (flag --basic-auth-user); only one can authenticate",
        ),
        (
            &[("header", "Authorization=secret"), ("bearer-token-file", "t")],
            "flag --bearer-token-file: header authorization (flag --header) besides other credentials (flag --bearer-token-file); only one can authenticate",
        ),
        (
            &[("label", "a.b=1"), ("label", "a_b=2")],
            "flag --label: label \"a_b=2\" is given twice (also flag --label: \"a.b=1\"); once",
        ),
        (&[("canary-url", "http://p")], "flag --canary-url: canary-url without endpoint; give that, too"),
        (&[("canary-tenant", "t")], "flag --canary-tenant: canary-tenant without canary-url; give that, too"),
        (
            &[("endpoint", "http://p"), ("canary-url", "http://p"), ("canary-basic-auth-user", "u")],
            "flag --canary-basic-auth-user: canary-basic-auth-user without canary-basic-auth-password-file; \
             give both or neither",
        ),
    ];
    for (given, wanted) in cases {
        assert_eq!(mistakes(run_with(given, &[])), [wanted]);
    }
}

#[test]
fn credentials_become_auth() {
    let basic = run_with(&[("basic-auth-user", "u"), ("basic-auth-password-file", "p")], &[]).unwrap();
    assert_eq!(basic.export.auth, Auth::Basic { user: "u".into(), password_file: "p".into() });
    let bearer = run_with(&[("bearer-token-file", "t")], &[]).unwrap();
    assert_eq!(bearer.export.auth, Auth::BearerFile("t".into()));
}

#[test]
fn the_canary_asks_with_its_own_credentials_and_the_same_tenant() {
    let sent = [("endpoint", "http://p"), ("tenant", "a"), ("bearer-token-file", "t"), ("ca-file", "c")];
    assert!(run_with(&sent, &[]).unwrap().canary.is_none());
    let canary = |own: &[(&'static str, &str)]| {
        let given = [&sent[..], &[("canary-url", "https://p/q/")], own].concat();
        run_with(&given, &[]).unwrap().canary.unwrap()
    };
    let plain = canary(&[]);
    assert_eq!((plain.url.to_string(), plain.tenant.as_deref()), ("https://p/q".to_owned(), Some("a")));
    assert_eq!((plain.auth, plain.ca_file), (Auth::None, Some("c".into())));
    let own = canary(&[("canary-tenant", "b"), ("canary-bearer-token-file", "u")]);
    assert_eq!((own.tenant.as_deref(), own.auth), (Some("b"), Auth::BearerFile("u".into())));
}

#[test]
fn messages_show_no_secret() {
    let given =
        [("endpoint", "http://me:hunter2@h"), ("header", "bad name=hunter2"), ("canary-url", "http://me:hunter2@h")];
    let message = run_with(&given, &[]).unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "{message}");
    assert!(message.starts_with("wrong usage, 3 mistakes\n  "), "{message}");
}

#[test]
fn what_config_show_prints_is_a_configuration_again() {
    let given = [
        ("endpoint", "http://h:1"),
        ("header", "authorization=hunter2"),
        ("label", "team=a\"b\\c"),
        ("tenant", "007"),
        ("service-name-from", "exe"),
    ];
    let environment = [("PROFILER_METRICS_OPEN", "1")];
    let settings = Settings::new(Command::Run, &flags(&given), &variables(&environment)).unwrap();
    let text = show(&settings);
    for line in [
        "frequency = 19  # default",
        "metrics-open = true  # environment PROFILER_METRICS_OPEN",
        "header = [\"authorization=***\"]  # flag --header",
        "label = [\"team=a\\\"b\\\\c\"]  # flag --label",
        "tenant = \"007\"  # flag --tenant",
        "# ca-file is not set",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("hunter2"));
    let again = file(&text);
    let config = run_with(&[("config", again.path().to_str().unwrap())], &[]).unwrap();
    assert_eq!(config.sample.labels, [("team".to_owned(), "a\"b\\c".to_owned())]);
    assert_eq!((config.export.tenant.as_deref(), config.metrics_open), (Some("007"), true));
    assert_eq!(config.sample.service_name_from, [NameSource::Exe]);
}

#[test]
fn tables_of_the_file_are_shown_and_read_again() {
    let given = file(
        "tenant = \"a\"\n[[relabel]]\naction = \"hashmod\"\nsource-labels = [\"a\", \"b\\\"\"]\nmodulus = 8\n\
         target-label = \"shard\"\n[[service]]\nname = \"shop\"\nfrequency = 97\n",
    );
    let read = |path: &Path| {
        let flags = flags(&[("config", path.to_str().unwrap())]);
        let settings = Settings::new(Command::Run, &flags, &|_| None).unwrap();
        (show(&settings), settings.run_config())
    };
    let (text, first) = read(given.path());
    let path = given.path().display();
    for line in [
        format!("[[relabel]]  # {path}:2:1"),
        format!("modulus = 8  # {path}:5:11"),
        format!("source-labels = [\"a\", \"b\\\"\"]  # {path}:4:17"),
        format!("[[service]]  # {path}:7:1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let (_, again) = read(file(&text).path());
    assert_eq!((&first.relabel, &first.service_frequencies), (&again.relabel, &again.service_frequencies));
    assert_eq!((first.relabel.is_empty(), first.service_frequencies[0].of("shop")), (false, Some(97)));
}
