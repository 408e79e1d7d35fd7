//! What is asked of the API server, and which labels its answers become.

use std::path::PathBuf;

/// Where kubelet mounts the service account.
pub(crate) const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whether pods are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Where the agent runs in a pod.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What is asked of the API server, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Whether at all.
    pub when: When,
    /// The name of this node.
    pub node_name: Option<String>,
    /// Folder of `token` and `ca.crt`.
    pub account: PathBuf,
    /// Before the `/` of the annotations that say what is sampled.
    pub annotation_prefix: String,
    /// Whether pods are sampled that say nothing.
    pub default_enabled: bool,
    /// Whether the kubelet is asked while the API server does not answer.
    pub kubelet_fallback: bool,
    /// Where the kubelet is; none for its port of the node's name.
    pub kubelet_url: Option<String>,
    /// Who signed the kubelet's certificate; none for the authority of the service account.
    pub kubelet_ca_file: Option<PathBuf>,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            when: When::default(),
            node_name: None,
            account: ACCOUNT.into(),
            annotation_prefix: "profiler".into(),
            default_enabled: true,
            kubelet_fallback: false,
            kubelet_url: None,
            kubelet_ca_file: None,
        }
    }
}

/// Which labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelPreset {
    /// Those of the semantic conventions.
    #[default]
    Default,
    /// `namespace`, `pod` and `container` as Alloy's `pyroscope.ebpf` sends them, and `namespace/container` as the name.
    Alloy,
}

/// Which labels pods have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLabels {
    /// Which ones they all have.
    pub preset: LabelPreset,
    /// Labels of pods, and what they are called.
    pub labels: Vec<(String, String)>,
    /// Annotations of pods, and what they are called.
    pub annotations: Vec<(String, String)>,
}
