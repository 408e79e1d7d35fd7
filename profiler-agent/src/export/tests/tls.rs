//! Encrypted endpoints whose authority is the user's own, and that ask for a client certificate.

use super::*;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_server::{
    ProfilesService, ProfilesServiceServer,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::convert::Infallible;
use std::path::Path;
use tempfile::TempDir;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{BoxFuture, Service as Tower};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// Says yes to OTLP over gRPC and over HTTP.
#[derive(Clone)]
struct Yes;

#[tonic::async_trait]
impl ProfilesService for Yes {
    async fn export(
        &self,
        _: Request<ExportProfilesServiceRequest>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        Ok(Response::new(ExportProfilesServiceResponse::default()))
    }
}

impl tonic::server::NamedService for Yes {
    const NAME: &'static str = "v1development";
}

impl Tower<::http::Request<tonic::body::Body>> for Yes {
    type Response = ::http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: ::http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async { Ok(::http::Response::new(tonic::body::Body::empty())) })
    }
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    async fn serve(&self) -> SocketAddr {
        let (listener, address) = listener().await;
        let (cert, key) = self.issue("localhost");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(cert, key))
            .client_ca_root(Certificate::from_pem(self.issuer.pem()));
        let grpc = ProfilesServiceServer::new(Yes).accept_compressed(CompressionEncoding::Gzip);
        let server = Server::builder().accept_http1(true).tls_config(tls).unwrap().add_service(grpc).add_service(Yes);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    fn file(&self, name: &str, content: &str) -> Option<std::path::PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    }

    fn config(&self, address: SocketAddr, protocol: Protocol) -> ExportConfig {
        let (cert, key) = self.issue("agent");
        ExportConfig {
            endpoints: vec![format!("https://localhost:{}", address.port()).parse().unwrap()],
            ca_file: self.file("ca.pem", &self.issuer.pem()),
            cert_file: self.file("cert.pem", &cert),
            key_file: self.file("key.pem", &key),
            ..config(&[], protocol)
        }
    }
}

async fn last_error(bench: &Bench) -> String {
    loop {
        if let Some(error) = bench.exporter.status().last_error {
            return error;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn both_sides_show_certificates() {
    let authority = Authority::new();
    let address = authority.serve().await;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let bench = Bench::start(authority.config(address, protocol), vec![part("shop", 3)]);
        assert_eq!(bench.settled().await.exported, 3, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_server_may_have_another_name_than_its_url() {
    let authority = Authority::new();
    let address = authority.serve().await;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let by_address = ExportConfig {
            endpoints: vec![format!("https://127.0.0.1:{}", address.port()).parse().unwrap()],
            ..authority.config(address, protocol)
        };
        let bench = Bench::start(by_address.clone(), vec![part("shop", 3)]);
        let error = last_error(&bench).await;
        assert!(error.contains("not valid for name"), "{protocol:?} {error}");
        let named = ExportConfig { tls_server_name: Some("localhost".into()), ..by_address };
        let bench = Bench::start(named, vec![part("shop", 3)]);
        assert_eq!(bench.settled().await.exported, 3, "{protocol:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_nobody_vouches_for() {
    let authority = Authority::new();
    let address = authority.serve().await;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let config = ExportConfig { ca_file: None, ..authority.config(address, protocol) };
        let bench = Bench::start(config, vec![part("shop", 3)]);
        let error = last_error(&bench).await;
        assert!(error.contains("UnknownIssuer"), "{protocol:?} {error}");
        assert_eq!((bench.balanced().pending, bench.requests("ambiguous")), (3, 0.0));
    }
}

#[tokio::test]
async fn certificates_may_be_replaced_while_running() {
    let authority = Authority::new();
    let address = authority.serve().await;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let config = authority.config(address, protocol);
        let ca = config.ca_file.clone().unwrap();
        replace(&ca, "not a certificate");
        let bench = Bench::start(config, vec![part("shop", 3)]);
        last_error(&bench).await;
        assert_eq!(bench.balanced().pending, 3);
        replace(&ca, &authority.issuer.pem());
        assert_eq!(bench.settled().await.exported, 3, "{protocol:?}");
    }
}

/// As secrets are replaced: all at once.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_certificate_without_a_key_is_an_error_at_start() {
    let config = ExportConfig {
        cert_file: Some("cert.pem".into()),
        ..config(&["127.0.0.1:1".parse().unwrap()], Protocol::Grpc)
    };
    let error = Exporter::start(&config, Arc::default(), None).unwrap_err();
    assert!(error.to_string().contains("both a certificate file and a key file"));
}
