//! From the text of one value to its type.

use crate::bpf::Clock;
use crate::export::{Endpoint, Protocol, is_server_name};
use crate::kubernetes::{LabelPreset, When};
use crate::otlp::LabelStyle;
use crate::process::NameSource;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tracing::Level;

/// Above this a sample costs more than what it measures.
pub(super) const MAX_FREQUENCY_HZ: u32 = 10_000;
/// Shorter windows cost more requests than they show.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Between exports when nobody says.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// Servers take no profile older than an hour.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// One window holds a recording.
const MAX_RECORDING: Duration = Duration::from_secs(24 * 3600);
/// OTLP/HTTP's own path; the exporter adds it.
const PROFILES_PATH: &str = "/v1development/profiles";
/// Ring sizes that a test may ask for: one page to 1 GiB.
const RING_BYTES: std::ops::RangeInclusive<u64> = 4096..=1 << 30;

/// Why a text is no value: what is wrong and what would be right, without the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

/// A value or what is wrong.
pub(super) type Parsed<T> = Result<T, Wrong>;

fn wrong<T>(text: impl Into<String>) -> Parsed<T> {
    Err(Wrong(text.into()))
}

/// One of an enum's words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Parsed<T> {
    let found = words.iter().find(|(word, _)| *word == text).map(|&(_, value)| value);
    found.ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Wrong(format!("is unknown; one of {}", known.join(", ")))
    })
}

/// Words of `event`.
pub(super) const EVENTS: &[(&str, Clock)] = &[("cpu-clock", Clock::CpuClock), ("cycles", Clock::Cycles)];
/// Words of `protocol`.
pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[("grpc", Protocol::Grpc), ("http", Protocol::Http)];
/// Words of `label-style`.
pub(super) const LABEL_STYLES: &[(&str, LabelStyle)] =
    &[("underscore", LabelStyle::Underscore), ("dot", LabelStyle::Dot)];
/// Words of `label-preset`.
pub(super) const LABEL_PRESETS: &[(&str, LabelPreset)] =
    &[("default", LabelPreset::Default), ("alloy", LabelPreset::Alloy)];
/// Words of `kubernetes`.
pub(super) const KUBERNETES: &[(&str, When)] = &[("auto", When::Auto), ("on", When::On), ("off", When::Off)];
/// Words of `service-name-from`.
pub(super) const NAME_SOURCES: &[(&str, NameSource)] = &[
    ("env", NameSource::Env),
    ("annotation", NameSource::Annotation),
    ("label", NameSource::Label),
    ("owner", NameSource::Owner),
    ("unit", NameSource::Unit),
    ("script", NameSource::Script),
    ("exe", NameSource::Exe),
];
/// Words of `log-format`; whether it is JSON.
pub(super) const LOG_FORMATS: &[(&str, bool)] = &[("text", false), ("json", true)];
/// Words of `log-level`.
pub(super) const LOG_LEVELS: &[(&str, Level)] = &[
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// The word of a source of names.
#[must_use]
pub(crate) fn name_source_word(source: NameSource) -> &'static str {
    NAME_SOURCES.iter().find(|(_, named)| *named == source).map_or("", |(word, _)| word)
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Parsed<bool> {
    word(text, &[("true", true), ("false", false), ("1", true), ("0", false)])
        .or_else(|_| wrong("is no switch; true or false"))
}

/// Hz.
pub(super) fn frequency(text: &str) -> Parsed<u32> {
    let right = format!("Hz per CPU from 1 to {MAX_FREQUENCY_HZ}");
    let Ok(hz) = text.parse::<u64>() else { return wrong(format!("is no number; {right}")) };
    let hz = u32::try_from(hz).ok().filter(|hz| (1..=MAX_FREQUENCY_HZ).contains(hz));
    hz.map_or_else(|| wrong(format!("is out of range; {right}")), Ok)
}

/// A process id.
pub(super) fn pid(text: &str) -> Parsed<u32> {
    match text.parse::<u32>() {
        Ok(0) => wrong("is no process; a process id from 1"),
        Ok(pid) => Ok(pid),
        Err(_) => wrong("is no process id; a whole number from 1"),
    }
}

/// Time between exports.
pub(super) fn interval(text: &str) -> Parsed<Duration> {
    bounded(duration(text)?, MIN_INTERVAL, MAX_INTERVAL, "1s to 1h")
}

/// Length of a recording.
pub(super) fn recording(text: &str) -> Parsed<Duration> {
    bounded(duration(text)?, Duration::from_millis(1), MAX_RECORDING, "1ms to 24h")
}

fn bounded(duration: Duration, least: Duration, most: Duration, right: &str) -> Parsed<Duration> {
    if duration < least {
        return wrong(format!("is too short; {right}"));
    }
    if duration > most {
        return wrong(format!("is too long; {right}"));
    }
    Ok(duration)
}

/// `10s`, `500ms`, `1m30s`, `2h`; a bare number is seconds.
fn duration(text: &str) -> Parsed<Duration> {
    let bad = || Wrong("is no duration; such as 10s, 500ms or 1m30s".into());
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let count: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_ms = match &rest[..unit] {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        rest = &rest[unit..];
        total = total.saturating_add(Duration::from_millis(count.saturating_mul(unit_ms)));
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

/// Where the page is; none is off.
pub(super) fn listen(text: &str) -> Parsed<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    match local.or_else(|| text.parse().ok()) {
        Some(address) => Ok(Some(address)),
        None => wrong("is no address; such as 127.0.0.1:4041, [::1]:4041, or off"),
    }
}

/// A debuginfod server.
pub(super) fn debuginfod(text: &str) -> Parsed<Endpoint> {
    endpoint(text).or_else(|_| wrong("is no URL of a server; such as https://debuginfod.elfutils.org"))
}

/// Where the canary asks.
pub(super) fn canary(text: &str) -> Parsed<Endpoint> {
    let url = |wrong: Wrong| Wrong(wrong.0.replace("basic-auth", "canary-basic-auth"));
    endpoint(text).map_err(url)
}

/// An OTLP endpoint, without OTLP/HTTP's own path at its end. Texts never repeat the URL's credentials.
pub(super) fn endpoint(text: &str) -> Parsed<Endpoint> {
    let right = "such as http://localhost:4040 or https://profiles.example.com";
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return wrong(format!("has no http:// or https:// in front; {right}"));
    }
    let Ok(url) = http::Uri::from_str(text) else { return wrong(format!("is no URL; {right}")) };
    let Some(authority) = url.authority().filter(|authority| !authority.host().is_empty()) else {
        return wrong(format!("has no host; {right}"));
    };
    if authority.as_str().contains('@') {
        return wrong("has credentials in it; they belong into basic-auth-user and basic-auth-password-file");
    }
    let written_port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if authority.port_u16().is_none_or(|port| port == 0) && !written_port.is_empty() {
        return wrong("has no such port; 1 to 65535");
    }
    if url.query().is_some() || text.contains('#') {
        return wrong(format!("has a query or a fragment; {right}"));
    }
    let base = text.trim_end_matches('/');
    let base = base.strip_suffix(PROFILES_PATH).unwrap_or(base).trim_end_matches('/');
    base.parse().or_else(|_| wrong(format!("is no URL; {right}")))
}

/// A value for messages: without secrets, and not too long.
#[must_use]
pub(super) fn for_message(key: &str, text: &str) -> String {
    let text = match key {
        "endpoint" | "debuginfod" | "canary-url" => without_credentials(text),
        "header" => text.split_once('=').map_or("***".into(), |(name, _)| format!("{name}=***")),
        _ => text.to_owned(),
    };
    match text.char_indices().nth(200) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// A URL without what stands before `@`.
fn without_credentials(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}***{}", &url[..start], &url[start + at..]),
        None => url.to_owned(),
    }
}

/// A header.
pub(super) fn header(text: &str) -> Parsed<(String, String)> {
    let Some((key, value)) = text.split_once('=') else { return wrong("has no =; NAME=VALUE") };
    let (key, value) = (key.trim(), value.trim());
    if http::HeaderName::from_bytes(key.as_bytes()).is_err() {
        return wrong("has no valid header name; letters, digits and dashes before the =");
    }
    if http::HeaderValue::from_str(value).is_err() {
        return wrong("has a character that no header may have");
    }
    Ok((key.to_ascii_lowercase(), value.to_owned()))
}

/// A label. Bounds are those of Pyroscope.
pub(super) fn label(text: &str) -> Parsed<(String, String)> {
    let Some((key, value)) = text.split_once('=') else { return wrong("has no =; KEY=VALUE") };
    let head = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !head || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') || key.len() > 1024 {
        return wrong("has no valid key; letters, digits, _ and . before the =, not a digit first");
    }
    if value.is_empty() || value.len() > 2048 || value.chars().any(char::is_control) {
        return wrong("has no valid value; 1 to 2048 bytes without control characters after the =");
    }
    if matches!(key, "service.name" | "service_name") || key.starts_with("__") {
        return wrong("is a label that the agent sets itself; another key");
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// The name of a node: a DNS subdomain.
pub(super) fn node_name(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let right = "lower-case letters, digits, - and ., at most 253, as kubectl get nodes shows it";
    let fine = !text.is_empty() && text.len() <= 253 && text.bytes().all(fits);
    if fine { Ok(text.to_owned()) } else { wrong(format!("is no name of a node; {right}")) }
}

/// Where the kubelet is: without a path.
pub(super) fn kubelet(text: &str) -> Parsed<String> {
    let right = "such as https://node-1:10250";
    let Some(authority) = text.strip_prefix("https://") else {
        return wrong(format!("has no https:// in front; {right}"));
    };
    let parsed = http::uri::Authority::from_str(authority.trim_end_matches('/')).ok();
    match parsed.filter(|parsed| !parsed.host().is_empty() && !parsed.as_str().contains('@')) {
        Some(parsed) => Ok(format!("https://{parsed}")),
        None => wrong(format!("is no host with a port; {right}")),
    }
}

/// What stands before the `/` in the key of an annotation.
pub(super) fn annotation_prefix(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let fine = !text.is_empty() && text.len() <= 253 && text.bytes().all(fits);
    if fine {
        Ok(text.to_owned())
    } else {
        wrong("is no prefix of annotations; such as profiler or profiler.example.com")
    }
}

/// A label of pods and what it is called: `NAME` or `NAME=LABEL`.
pub(super) fn pod_label(text: &str) -> Parsed<(String, String)> {
    renamed(text, "k8s.pod.label")
}

/// The same of an annotation.
pub(super) fn pod_annotation(text: &str) -> Parsed<(String, String)> {
    renamed(text, "k8s.pod.annotation")
}

fn renamed(text: &str, prefix: &str) -> Parsed<(String, String)> {
    let (name, key) = text.split_once('=').map_or((text, None), |(name, key)| (name, Some(key)));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/');
    if name.is_empty() || name.len() > 317 || !name.bytes().all(fits) {
        return wrong("has no valid name; as kubectl shows it, such as team or app.kubernetes.io/part-of");
    }
    let Some(key) = key else { return Ok((name.to_owned(), format!("{prefix}.{name}"))) };
    label(&format!("{key}=x")).map(|(key, _)| (name.to_owned(), key))
}

/// Bytes of a socket's path: `sun_path` with a zero at its end.
const MAX_SOCKET_BYTES: usize = 107;

/// A socket of a container engine; none is off.
pub(super) fn socket(text: &str) -> Parsed<Option<PathBuf>> {
    if matches!(text, "" | "off") {
        return Ok(None);
    }
    if !text.starts_with('/') || text.len() > MAX_SOCKET_BYTES || text.contains('\0') {
        return wrong("is no path of a socket; such as /var/run/docker.sock, or off");
    }
    Ok(Some(PathBuf::from(text)))
}

/// A source of names.
pub(super) fn name_source(text: &str) -> Parsed<NameSource> {
    word(text, NAME_SOURCES)
}

/// A tenant, sent as a header.
pub(super) fn tenant(text: &str) -> Parsed<String> {
    let fits = !text.is_empty() && text.len() <= 150 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { wrong("is no tenant; 1 to 150 printable characters without spaces") }
}

/// Any text but none.
pub(super) fn text(text: &str) -> Parsed<String> {
    if text.is_empty() { wrong("is empty") } else { Ok(text.to_owned()) }
}

/// A name for the Host header.
pub(super) fn host(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    wrong("is no host name; such as profiler.example.com, without a scheme")
}

/// A name in a certificate.
pub(super) fn server_name(text: &str) -> Parsed<String> {
    if is_server_name(text) { Ok(text.to_owned()) } else { wrong("is neither a DNS name nor an IP address") }
}

/// Memory for unwind tables when nobody says anything.
pub(super) const UNWIND_BYTES: u64 = 256 << 20;

/// Memory for unwind tables: what 16 bits of chunk numbers can address, at most.
pub(super) fn unwind_bytes(text: &str) -> Parsed<u64> {
    let bytes = bytes(text)?;
    if (1 << 20..=4_u64 << 30).contains(&bytes) { Ok(bytes) } else { wrong("is out of range; 1MiB to 4GiB") }
}

/// Disk for windows that wait, unless told otherwise.
pub(super) const SPOOL_BYTES: u64 = 512 << 20;

/// Disk for windows that wait.
pub(super) fn spool_bytes(text: &str) -> Parsed<u64> {
    let bytes = bytes(text)?;
    if (1 << 20..=1_u64 << 40).contains(&bytes) { Ok(bytes) } else { wrong("is out of range; 1MiB to 1024GiB") }
}

/// Percent of all CPUs' time, as a ratio.
pub(super) fn cpu_budget(text: &str) -> Parsed<f64> {
    let Ok(percent) = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>() else {
        return wrong("is no number of percent; such as 1%");
    };
    if (0.01..=100.0).contains(&percent) { Ok(percent / 100.0) } else { wrong("is out of range; 0.01% to 100%") }
}

/// Memory of the agent.
pub(super) fn memory_budget(text: &str) -> Parsed<u64> {
    let bytes = bytes(text)?;
    if bytes >= 32 << 20 { Ok(bytes) } else { wrong("is too small; 32MiB or more") }
}

/// A number of bytes, with or without a unit of 1024.
fn bytes(text: &str) -> Parsed<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[end..].trim_start() {
        "" | "B" => Some(0),
        "K" | "KiB" => Some(10),
        "M" | "MiB" => Some(20),
        "G" | "GiB" => Some(30),
        _ => None,
    };
    let number = text[..end].parse::<u64>().ok().zip(shift);
    match number.and_then(|(number, shift)| number.checked_mul(1 << shift)) {
        Some(bytes) => Ok(bytes),
        None => wrong("is no number of bytes; such as 256MiB"),
    }
}

/// Series of one agent when nobody says anything.
pub(super) const MAX_SERIES: usize = 200;

/// Series of one agent: a Pyroscope tenant may have 5000.
pub(super) fn max_series(text: &str) -> Parsed<usize> {
    match text.parse::<usize>() {
        Ok(count) if (1..=1_000_000).contains(&count) => Ok(count),
        Ok(_) => wrong("is out of range; 1 to 1000000"),
        Err(_) => wrong("is no number; of series from 1"),
    }
}

/// Size of the ring buffer.
pub(super) fn ring_bytes(text: &str) -> Parsed<u64> {
    match text.parse::<u64>() {
        Ok(bytes) if RING_BYTES.contains(&bytes) => Ok(bytes),
        Ok(_) => wrong("is out of range; 4096 to 1073741824 bytes"),
        Err(_) => wrong("is no number; bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let cases = [("10s", 10_000), ("10", 10_000), ("500ms", 500), ("1m30s", 90_000), ("2h", 7_200_000)];
        for (text, wanted_ms) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(wanted_ms)), "{text}");
        }
        for text in ["", "s", "1x", "-1s", "1.5s", "s1", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(interval("999ms"), Err(Wrong("is too short; 1s to 1h".into())));
        assert_eq!(interval("18446744073709551615h"), Err(Wrong("is too long; 1s to 1h".into())));
    }

    #[test]
    fn bytes_have_units_of_1024() {
        for text in ["268435456", "262144K", "256MiB", "256 MiB"] {
            assert_eq!(unwind_bytes(text), Ok(UNWIND_BYTES), "{text}");
        }
        for text in ["", "MiB", "1MB", "1", "5GiB", "99999999999999999999", "17179869184GiB", "-1"] {
            assert!(unwind_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn budgets_have_units_and_bounds() {
        for (text, ratio) in [("1%", 0.01), ("1", 0.01), ("0.5 %", 0.005), ("100", 1.0)] {
            assert_eq!(cpu_budget(text), Ok(ratio), "{text}");
        }
        for text in ["", "%", "0", "-1%", "101%", "NaN", "1%%", "one"] {
            assert!(cpu_budget(text).is_err(), "{text}");
        }
        assert_eq!(memory_budget("64MiB"), Ok(64 << 20));
        assert!(memory_budget("1MiB").is_err() && memory_budget("lots").is_err());
    }

    #[test]
    fn frequencies_are_bounded() {
        assert_eq!(frequency("99"), Ok(99));
        assert!(frequency("fast").is_err());
        assert!(frequency("-1").is_err());
        for text in ["0", "10001", "4294967297"] {
            assert!(frequency(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_urls() {
        let cases = [
            ("http://localhost:4040", "http://localhost:4040/"),
            ("https://p.example/otlp/", "https://p.example/otlp"),
            ("http://[::1]:4040/", "http://[::1]:4040/"),
            ("http://h:1/x/v1development/profiles", "http://h:1/x"),
        ];
        for (text, wanted) in cases {
            assert_eq!(endpoint(text).unwrap().to_string(), wanted);
        }
        for text in [
            "localhost:4040",
            "ftp://h",
            "http://",
            "http://h:99999",
            "http://h:0",
            "http://h:",
            "http://h?q=1",
            "http://u:p@h",
            "http:// h",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_do_not_come_back_in_messages() {
        assert_eq!(without_credentials("https://u:p@h/x@y"), "https://***@h/x@y");
        assert_eq!(without_credentials("u:p@h"), "***@h");
        assert_eq!(without_credentials("http://h"), "http://h");
    }

    #[test]
    fn listen_takes_addresses_and_off() {
        assert_eq!(listen("off"), Ok(None));
        assert_eq!(listen("localhost:1").unwrap().unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(listen("[::]:4041").unwrap().unwrap().to_string(), "[::]:4041");
        assert!(listen("4041").is_err());
    }

    #[test]
    fn sockets_are_absolute_paths_or_off() {
        assert_eq!(socket("/run/podman/podman.sock"), Ok(Some("/run/podman/podman.sock".into())));
        assert_eq!((socket(""), socket("off")), (Ok(None), Ok(None)));
        for text in ["docker.sock", "unix:///run/docker.sock", "tcp://h:2375", &format!("/{}", "x".repeat(107))] {
            assert!(socket(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_and_headers_are_pairs() {
        assert_eq!(label("k8s.env=prod=1").unwrap(), ("k8s.env".into(), "prod=1".into()));
        for text in ["env", "=x", "1a=x", "a b=c", "a=", "service.name=x", "a=\u{1b}"] {
            assert!(label(text).is_err(), "{text}");
        }
        assert_eq!(header("X-Key = v=1").unwrap(), ("x-key".into(), "v=1".into()));
        for text in ["x", "a b=c", "a=b\u{1}c"] {
            assert!(header(text).is_err(), "{text}");
        }
    }
}
