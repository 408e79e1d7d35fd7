//! How the API server is reached: the address that kubelet tells every container, and the service account of the pod.

use super::config::{KubernetesConfig, When};
use std::path::{Path, PathBuf};

/// What kubelet sets in every container.
pub(crate) const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";
/// The kubelet's own.
const KUBELET_PORT: u16 = 10_250;
/// Of the certificate authority and of the token.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The API server as the agent reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// `https://10.96.0.1:443`.
    pub(crate) url: String,
    /// TCP port of it.
    pub(crate) port: u16,
    /// The name of this node.
    pub(crate) node_name: String,
    /// `https://node-1:10250`.
    pub(crate) kubelet_url: String,
    kubelet_fallback: bool,
    kubelet_ca_file: Option<PathBuf>,
    account: PathBuf,
}

/// Why pods have no names, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAccess {
    #[error("the agent is in no pod ({HOST} is not set)")]
    NotInCluster,
    #[error("{HOST} and {PORT} are no address ({0})")]
    Address(String),
    #[error("the node's name is not known")]
    NoNode,
    #[error("no service account token at {0}")]
    NoToken(String),
    #[error("no certificate authority at {0}: {1}")]
    NoAuthority(String, String),
}

impl NoAccess {
    /// What mends it.
    pub(crate) fn fix(&self) -> &'static str {
        match self {
            Self::NotInCluster | Self::Address(_) => {
                "run the agent in a pod, or set KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, or --kubernetes off"
            }
            Self::NoNode => "set PROFILER_NODE_NAME from spec.nodeName, or --node-name",
            Self::NoToken(_) | Self::NoAuthority(..) => {
                "set automountServiceAccountToken: true, or --kubernetes-account, or --kubernetes off"
            }
        }
    }
}

impl Access {
    /// How to reach it; none where nobody wants to.
    pub(crate) fn find(
        config: &KubernetesConfig,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, NoAccess> {
        let host = variable(HOST).filter(|host| !host.is_empty());
        let host = match (config.when, host) {
            (When::Off, _) | (When::Auto, None) => return Ok(None),
            (When::On, None) => return Err(NoAccess::NotInCluster),
            (When::Auto | When::On, Some(host)) => host,
        };
        let written = variable(PORT).filter(|port| !port.is_empty()).unwrap_or_else(|| "443".into());
        let address = NoAccess::Address(format!("{host}:{written}"));
        let port = written.parse::<u16>().map_err(|_| address.clone())?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let url = format!("https://{host}:{port}");
        url.parse::<http::Uri>().map_err(|_| address)?;
        let node_name = config.node_name.clone().ok_or(NoAccess::NoNode)?;
        let token = config.account.join("token");
        if !token.exists() {
            return Err(NoAccess::NoToken(token.display().to_string()));
        }
        let kubelet_url = config.kubelet_url.clone().unwrap_or_else(|| format!("https://{node_name}:{KUBELET_PORT}"));
        Ok(Some(Self {
            url,
            port,
            node_name,
            kubelet_url,
            kubelet_fallback: config.kubelet_fallback,
            kubelet_ca_file: config.kubelet_ca_file.clone(),
            account: config.account.clone(),
        }))
    }

    /// Whether the kubelet may be asked.
    pub(crate) fn asks_kubelet(&self) -> bool {
        self.kubelet_fallback
    }

    /// TCP port of the kubelet, where it may be asked.
    pub(crate) fn kubelet_port(&self) -> Option<u16> {
        let url = self.kubelet_url.parse::<http::Uri>().ok().filter(|_| self.kubelet_fallback);
        url.map(|url| url.port_u16().unwrap_or(443))
    }

    /// A client. Token and authority are read again when they change.
    pub(crate) fn client(&self) -> Result<kube::Client, NoAccess> {
        self.client_of(&self.url, self.account.join("ca.crt"))
    }

    /// The same for the kubelet.
    pub(crate) fn kubelet(&self) -> Result<kube::Client, NoAccess> {
        let authority = self.kubelet_ca_file.clone().unwrap_or_else(|| self.account.join("ca.crt"));
        self.client_of(&self.kubelet_url, authority)
    }

    fn client_of(&self, url: &str, authority: PathBuf) -> Result<kube::Client, NoAccess> {
        let failed = |error: String| NoAccess::NoAuthority(authority.display().to_string(), error);
        let certificates = certificates(&authority).map_err(failed)?;
        let url = url.parse().map_err(|_| NoAccess::Address(url.to_owned()))?;
        let token = self.account.join("token");
        let mut config = kube::Config::new(url);
        config.root_cert = Some(certificates);
        config.root_cert_file = Some(authority.clone());
        config.auth_info.token_file = Some(token.display().to_string());
        kube::Client::try_from(config).map_err(|error| match error {
            kube::Error::Auth(_) => NoAccess::NoToken(token.display().to_string()),
            error => failed(error.to_string()),
        })
    }
}

/// In DER.
fn certificates(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    use std::io::Read as _;
    let mut pem = Vec::new();
    let opened = std::fs::File::open(file).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut pem));
    opened.map_err(|error| error.to_string())?;
    let read = CertificateDer::pem_slice_iter(&pem).map(|certificate| certificate.map(|der| der.to_vec()));
    let read = read.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if read.is_empty() { Err("no certificate in it".into()) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(config: &KubernetesConfig, host: &str, port: &str) -> Result<Option<Access>, NoAccess> {
        let variable = |name: &str| Some(if name == HOST { host } else { port }.to_owned());
        Access::find(config, variable)
    }

    #[test]
    fn the_address_is_that_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "t").unwrap();
        let config =
            KubernetesConfig { node_name: Some("n1".into()), account: folder.path().into(), ..Default::default() };
        let url = |host, port| find(&config, host, port).unwrap().map(|access| (access.url, access.port));
        assert_eq!(url("10.96.0.1", "6443"), Some(("https://10.96.0.1:6443".into(), 6443)));
        assert_eq!(url("10.96.0.1", ""), Some(("https://10.96.0.1:443".into(), 443)));
        assert_eq!(url("fd00::1", "443"), Some(("https://[fd00::1]:443".into(), 443)));
        assert_eq!(url("", "443"), None);
        assert_eq!(find(&config, "a b", "443"), Err(NoAccess::Address("a b:443".into())));
        assert_eq!(find(&config, "a", "x"), Err(NoAccess::Address("a:x".into())));
        let off = KubernetesConfig { when: When::Off, ..config.clone() };
        assert_eq!(find(&off, "10.96.0.1", "443"), Ok(None));
        let on = KubernetesConfig { when: When::On, ..config.clone() };
        assert_eq!(find(&on, "", ""), Err(NoAccess::NotInCluster));
        let nameless = KubernetesConfig { node_name: None, ..config.clone() };
        assert_eq!(find(&nameless, "10.96.0.1", "443"), Err(NoAccess::NoNode));
        std::fs::remove_file(folder.path().join("token")).unwrap();
        assert!(matches!(find(&config, "10.96.0.1", "443"), Err(NoAccess::NoToken(_))));
    }
}
