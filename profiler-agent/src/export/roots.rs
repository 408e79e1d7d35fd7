//! The certificate authorities that are trusted: the host's own and the user's.
//!
//! The host's are where its OpenSSL has them; `SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise. A host without any, as a
//! container made from nothing, has those that Mozilla trusts, as they were when the agent was built.

use super::request_headers::read_file;
use anyhow::Context as _;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::path::{Path, PathBuf};

/// Where distributions keep all authorities in one file; what is written anew there is read anew.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The host's authorities and those of a PEM file.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub(super) fn trusted(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = of_host(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        for certificate in certificates(&read_file(file).context("CA file")?).context("CA file")? {
            roots.add(certificate).context("CA file")?;
        }
    }
    Ok(roots)
}

/// Those of the host that can be used, else Mozilla's.
fn of_host(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        roots.roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
    }
    roots
}

/// Files that the host's authorities come from, so far as they can be named.
pub(super) fn files_of_host() -> Vec<PathBuf> {
    match std::env::var_os("SSL_CERT_FILE") {
        Some(file) => vec![file.into()],
        None => BUNDLES.map(PathBuf::from).into(),
    }
}

/// The certificates of a PEM file.
///
/// # Errors
/// There is none, or one is malformed.
pub(super) fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!certificates.is_empty(), "no certificate in it");
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_authorities_has_mozillas() {
        let mozilla = webpki_roots::TLS_SERVER_ROOTS.len();
        assert_eq!(of_host(Vec::new()).len(), mozilla);
        assert_eq!(of_host(vec![CertificateDer::from(b"no certificate".to_vec())]).len(), mozilla);
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert_eq!(of_host(vec![own.cert.der().clone()]).len(), 1);
    }
}
