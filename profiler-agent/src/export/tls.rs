//! Certificates of both sides, read from files that may be replaced while we run.

use super::config::ExportConfig;
use super::request_headers::read_file;
use super::roots;
use anyhow::Context;
use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, crypto};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tonic::transport::{ClientTlsConfig, Identity};

#[derive(Clone, Debug)]
pub(super) struct TlsFiles {
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
    server_name: Option<ServerName<'static>>,
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
        let server_name = config.tls_server_name.clone().map(ServerName::try_from).transpose();
        Ok(Self { ca: config.ca_file.clone(), client, server_name: server_name.context("TLS server name")? })
    }

    /// Whose certificate is asked for, where that is not the host of the URL.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        self.server_name.clone()
    }

    pub(super) fn stamp(&self) -> Stamp {
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.ino(), found.len(), found.modified().ok()?))
        };
        self.ca.iter().chain(client).chain(&roots::files_of_host()).map(stamp).collect()
    }

    /// For gRPC: the host's authorities and the user's.
    pub(super) fn grpc(&self) -> anyhow::Result<ClientTlsConfig> {
        let mut tls = ClientTlsConfig::new().trust_anchors(roots::trusted(self.ca.as_deref())?.roots);
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name.to_str());
        }
        if let Some((cert, key)) = &self.client {
            let cert = read_file(cert).context("certificate file")?;
            tls = tls.identity(Identity::from_pem(cert, read_file(key).context("key file")?));
        }
        Ok(tls)
    }

    /// For HTTP: the same.
    pub(super) fn http(&self) -> anyhow::Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots::trusted(self.ca.as_deref())?);
        let Some((cert, key)) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let chain = roots::certificates(&read_file(cert).context("certificate file")?).context("certificate file")?;
        let key = PrivateKeyDer::from_pem_slice(&read_file(key).context("key file")?).context("key file")?;
        builder.with_client_auth_cert(chain, key).context("client certificate")
    }
}

/// Whether a certificate can have this name.
pub(crate) fn is_server_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

/// For HTTP without a client certificate: the host's authorities and the user's.
pub(crate) fn client_tls(ca_file: Option<PathBuf>) -> anyhow::Result<ClientConfig> {
    TlsFiles { ca: ca_file, client: None, server_name: None }.http()
}
