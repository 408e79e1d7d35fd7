//! What a user says about endpoints.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Encoded bytes that wait for an endpoint at most.
const MAX_BACKLOG_BYTES: usize = 32 << 20;
/// Requests at a time.
const CONCURRENCY: usize = 4;
/// How long an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where and how to send.
#[derive(Clone, Debug)]
pub struct ExportConfig {
    /// In order of preference; a later one is used while no earlier one can be reached.
    pub endpoints: Vec<Endpoint>,
    /// OTLP over gRPC or HTTP.
    pub protocol: Protocol,
    /// Sent as `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// File with more of them, a line `Name: value` each; read for every request, so that it may change.
    pub header_file: Option<PathBuf>,
    /// Who we are.
    pub auth: Auth,
    /// Name in the server's certificate, where that is not the host of the URL.
    pub tls_server_name: Option<String>,
    /// PEM file of certificate authorities that are trusted besides the host's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    pub key_file: Option<PathBuf>,
    /// For one request.
    pub timeout: Duration,
    /// Encoded bytes that wait at most.
    pub max_backlog_bytes: usize,
    /// Requests at a time.
    pub concurrency: usize,
}

impl ExportConfig {
    /// The defaults with these endpoints.
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            protocol: Protocol::default(),
            tenant: None,
            headers: Vec::new(),
            header_file: None,
            auth: Auth::default(),
            tls_server_name: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            timeout: TIMEOUT,
            max_backlog_bytes: MAX_BACKLOG_BYTES,
            concurrency: CONCURRENCY,
        }
    }
}

/// How requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC; in clear text HTTP/2 with prior knowledge.
    #[default]
    Grpc,
    /// OTLP/HTTP with protobuf bodies.
    Http,
}

/// Credentials. Files are read for every request, so that they may change.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// `Authorization: Bearer` with the content of this file.
    BearerFile(PathBuf),
    /// `Authorization: Basic`.
    Basic {
        /// The user's name.
        user: String,
        /// The file with the password.
        password_file: PathBuf,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::BearerFile(file) => f.debug_tuple("BearerFile").field(file).finish(),
            Self::Basic { password_file, .. } => f.debug_struct("Basic").field("password_file", password_file).finish(),
        }
    }
}

/// The URL of a server: `http://` or `https://`, a host, perhaps a port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(http::Uri);

/// Why a URL is no endpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("endpoint {url:?}: {reason}")]
pub struct BadEndpoint {
    url: String,
    reason: &'static str,
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(url: &str) -> Result<Self, BadEndpoint> {
        let bad = |reason| BadEndpoint { url: url.to_owned(), reason };
        let uri = http::Uri::from_str(url).map_err(|_| bad("not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad("must start with http:// or https://"));
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| bad("has no host"))?;
        if authority.as_str().contains('@') {
            // The URL may hold a password: do not repeat it.
            let reason = "credentials belong into files, not into the URL";
            return Err(BadEndpoint { url: format!("…@{}", authority.host()), reason });
        }
        if uri.query().is_some() {
            return Err(bad("a query is not possible"));
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Endpoint {
    /// The URL as it is.
    pub(super) fn uri(&self) -> &http::Uri {
        &self.0
    }

    /// Its TCP port; where the URL has none, that of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        let of_scheme = if self.0.scheme_str() == Some("https") { 443 } else { 80 };
        self.0.port_u16().unwrap_or(of_scheme)
    }

    /// Where OTLP/HTTP profiles go: below the endpoint's own path.
    pub(super) fn http_profiles(&self) -> String {
        let url = self.0.to_string();
        format!("{}/v1development/profiles", url.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_go_below_the_path() {
        let at = |url: &str| url.parse::<Endpoint>().unwrap().http_profiles();
        assert_eq!(at("http://[::1]:4040"), "http://[::1]:4040/v1development/profiles");
        assert_eq!(at("https://p.example/otlp/"), "https://p.example/otlp/v1development/profiles");
    }

    #[test]
    fn says_what_is_wrong_without_repeating_passwords() {
        let error = |url: &str| url.parse::<Endpoint>().unwrap_err().to_string();
        assert_eq!(error("localhost:4040"), "endpoint \"localhost:4040\": must start with http:// or https://");
        assert_eq!(error("ftp://a"), "endpoint \"ftp://a\": must start with http:// or https://");
        assert_eq!(error("http://"), "endpoint \"http://\": not a URL");
        assert!(!error("https://me:secret@host:1").contains("secret"));
        assert!(error("http://a/?b").contains("query"));
    }
}
