//! Whether an endpoint would take profiles, found out without sending any: name, TCP, TLS, credentials, version of the
//! protocol.

use super::config::{Endpoint, ExportConfig, Protocol};
use super::link::{Attempt, CONNECT_TIMEOUT, Link, bounded};
use super::outcome::Outcome;
use super::request_headers::RequestHeaders;
use crate::otlp::{empty_request, impossible_request};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// What Pyroscope says of a request without profiles, once it has read its dictionary.
const READ_DICTIONARY: &str = "missing resource profiles";
/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// One line.
    pub found: String,
    /// Lines of which any one mends it.
    pub fixes: Vec<String>,
}

impl Obstacle {
    fn new(found: impl AsRef<str>, fixes: &[&str]) -> Self {
        Self { found: bounded(found.as_ref()), fixes: fixes.iter().map(|&fix| fix.to_owned()).collect() }
    }
}

/// Asks an endpoint; what it understands, in one line.
///
/// # Errors
/// What stands in the way of profiles, and what to do about it.
pub async fn probe(endpoint: &Endpoint, config: &ExportConfig) -> Result<String, Obstacle> {
    let addresses = look_up(endpoint).await?;
    connect(&addresses).await?;
    let ours = |error: anyhow::Error| Obstacle::new(format!("{error:#}"), &["make the file readable, and right"]);
    let headers = RequestHeaders::new(config).and_then(|headers| headers.read()).map_err(ours)?;
    let link = Link::new(endpoint.clone(), config).map_err(ours)?;
    let of = |protocol| if protocol == Protocol::Grpc { "gRPC" } else { "HTTP" };
    let first = link.send(Bytes::from(empty_request()), headers.clone()).await;
    match &first {
        Attempt::Answered(_, text) if text.contains(READ_DICTIONARY) => {}
        Attempt::Answered(Outcome::Accepted { .. }, _) => {
            return Ok(format!("takes OTLP over {}; it does not say which version it reads", of(config.protocol)));
        }
        _ => return Err(obstacle(&first, config.protocol)),
    }
    // It looks into what it gets: what it then says yes to, it has not understood.
    match link.send(Bytes::from(impossible_request()), headers).await {
        Attempt::Answered(Outcome::Accepted { .. }, _) => Err(Obstacle::new(
            "reads an earlier version of OTLP profiles: it would say yes to all, and store nothing",
            &["update it: Pyroscope 1.21 reads v1development of opentelemetry-proto 1.10, which is what is sent"],
        )),
        Attempt::Answered(..) => {
            Ok(format!("Pyroscope; reads OTLP profiles v1development (proto 1.10) over {}", of(config.protocol)))
        }
        lost => Err(obstacle(&lost, config.protocol)),
    }
}

async fn look_up(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Obstacle> {
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    let fixes = [
        "name a host in --endpoint that this one's resolver knows",
        "hostNetwork in Kubernetes: dnsPolicy: ClusterFirstWithHostNet",
    ];
    match timeout(CONNECT_TIMEOUT, lookup_host((host, endpoint.port()))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(Obstacle::new(format!("its name cannot be looked up: {error}"), &fixes)),
        Err(_) => Err(Obstacle::new("its name cannot be looked up: no name server answers", &fixes)),
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<(), Obstacle> {
    let mut obstacle = Obstacle::new("its name has no address", &["name another host in --endpoint"]);
    for address in addresses {
        obstacle = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => Obstacle::new(
                format!("{address} cannot be reached over TCP: {error}"),
                &["start the server, or name its port in --endpoint: Pyroscope listens on 4040"],
            ),
            Err(_) => Obstacle::new(
                format!("{address} does not answer over TCP"),
                &["let this host reach it: firewall, NetworkPolicy, IPAddressAllow= of the systemd unit"],
            ),
        };
    }
    Err(obstacle)
}

/// What an attempt that found no profiles server met, by the words of the TLS library, of proxies and of Pyroscope.
fn obstacle(attempt: &Attempt, protocol: Protocol) -> Obstacle {
    let (Attempt::NotReached(text) | Attempt::NotSent(text) | Attempt::Answered(_, text)) = attempt;
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let other = if protocol == Protocol::Grpc { "http" } else { "grpc" };
    let other = format!("another --protocol ({other}), or another URL");
    let fix = match attempt {
        Attempt::NotSent(_) => "make the file readable, and right",
        Attempt::NotReached(_) if says(&["UnknownIssuer"]) => "--ca-file with the authority of its certificate (PEM)",
        Attempt::NotReached(_) if says(&["not valid for name", "NotValidForName"]) => {
            "--tls-server-name with a name in its certificate"
        }
        Attempt::NotReached(_) if says(&["CertificateRequired", "HandshakeFailure"]) => {
            "--cert-file and --key-file: it asks for a client certificate"
        }
        Attempt::NotReached(_) if says(&["InvalidContentType", "InvalidMessage"]) => {
            "http:// in --endpoint: it does not speak TLS"
        }
        Attempt::NotReached(_) => "https:// in --endpoint if it speaks TLS; else look at the server's log",
        Attempt::Answered(..) if says(&["no org id", "status: 401"]) => "--tenant with the tenant to write to",
        Attempt::Answered(..) if says(&["Unauthenticated", "PermissionDenied", "HTTP 401", "HTTP 403"]) => {
            "--bearer-token-file, or --basic-auth-user and --basic-auth-password-file; --tenant"
        }
        Attempt::Answered(Outcome::Retry { .. }, _) => "wait, or raise the tenant's limits: it refuses for now",
        Attempt::Answered(..) => &other,
    };
    let what = match attempt {
        Attempt::NotSent(_) => "nothing can be sent",
        Attempt::NotReached(_) => "no connection beyond TCP",
        Attempt::Answered(..) => "it takes no OTLP profiles",
    };
    Obstacle::new(format!("{what}: {text}"), &[fix])
}
