//! Certificates of both sides, read from files that may be replaced while we run.

use super::config::ExportConfig;
use super::request_headers::read_file;
use anyhow::Context;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, crypto};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

#[derive(Clone, Debug)]
pub(super) struct TlsFiles {
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

/// Which files they are, and when they were last written: a client with another stamp is made anew. Times alone are as
/// coarse as the kernel's tick.
pub(super) type Stamp = Vec<Option<(u64, u64, SystemTime)>>;

impl TlsFiles {
    pub(super) fn new(config: &ExportConfig) -> anyhow::Result<Self> {
        let client = match (&config.cert_file, &config.key_file) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            _ => anyhow::bail!("a client certificate needs both a certificate file and a key file"),
        };
        Ok(Self { ca: config.ca_file.clone(), client })
    }

    pub(super) fn stamp(&self) -> Stamp {
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        let files = self.ca.iter().chain(client);
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.ino(), found.len(), found.modified().ok()?))
        };
        files.map(stamp).collect()
    }

    /// For gRPC: the public authorities and the user's.
    pub(super) fn grpc(&self) -> anyhow::Result<ClientTlsConfig> {
        let mut tls = ClientTlsConfig::new().with_webpki_roots();
        if let Some(ca) = &self.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read_file(ca).context("CA file")?));
        }
        if let Some((cert, key)) = &self.client {
            let cert = read_file(cert).context("certificate file")?;
            tls = tls.identity(Identity::from_pem(cert, read_file(key).context("key file")?));
        }
        Ok(tls)
    }

    /// For HTTP: the same.
    pub(super) fn http(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(ca) = &self.ca {
            for certificate in certificates(&read_file(ca).context("CA file")?).context("CA file")? {
                roots.add(certificate).context("CA file")?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let Some((cert, key)) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(&read_file(cert).context("certificate file")?).context("certificate file")?;
        let key = PrivateKeyDer::from_pem_slice(&read_file(key).context("key file")?).context("key file")?;
        builder.with_client_auth_cert(chain, key).context("client certificate")
    }
}

/// For HTTP without a client certificate: the public authorities and the user's.
pub(crate) fn client_tls(ca_file: Option<PathBuf>) -> anyhow::Result<ClientConfig> {
    TlsFiles { ca: ca_file, client: None }.http()
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!certificates.is_empty(), "no certificate in it");
    Ok(certificates)
}
