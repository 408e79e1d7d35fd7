//! Every setting, declared once.

use super::value::{self, Parsed};

/// A command that has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `run`.
    Run,
    /// `record`.
    Record,
}

/// Where a setting stands in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the headings")]
pub enum Heading {
    Recording,
    Sampling,
    Filters,
    Export,
    Naming,
    Kubernetes,
    Page,
    Configuration,
    Logging,
}

impl Heading {
    /// The text.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Recording => "Recording",
            Self::Sampling => "Sampling",
            Self::Filters => "Filters",
            Self::Export => "Export",
            Self::Naming => "Naming",
            Self::Kubernetes => "Kubernetes",
            Self::Page => "Page",
            Self::Configuration => "Configuration",
            Self::Logging => "Logging",
        }
    }
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Present or not; `true` or `false` elsewhere.
    Switch,
    /// One.
    One,
    /// Several; commas separate them everywhere.
    List,
    /// Several `KEY=VALUE`; commas separate them in the environment only, in the file they may be a table.
    Pairs,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Flag without its dashes, key in the file, and with `PROFILER_` in front environment variable.
    pub key: &'static str,
    /// Commands that take it.
    pub commands: &'static [Command],
    /// Its place in the help.
    pub heading: Heading,
    /// Stands for the value in the help.
    pub value_name: &'static str,
    /// How many values.
    pub arity: Arity,
    /// What applies when nobody says anything; empty for nothing, or for what depends on other settings.
    pub default: &'static str,
    /// One line for the help.
    pub help: &'static str,
    /// Checks one value.
    pub check: fn(&str) -> Parsed<()>,
    /// Not in the help: for tests.
    pub hidden: bool,
}

impl Setting {
    const PLAIN: Self = Self {
        key: "",
        commands: BOTH,
        heading: Heading::Sampling,
        value_name: "",
        arity: Arity::One,
        default: "",
        help: "",
        check: |text| value::text(text).map(drop),
        hidden: false,
    };

    /// The setting with this key.
    #[must_use]
    pub fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PROFILER_{}", self.key.to_ascii_uppercase().replace('-', "_"))
    }

    /// Whether a configuration file may have it: what `run` takes, but for the file's own name.
    #[must_use]
    pub fn in_file(&self) -> bool {
        self.commands.contains(&Command::Run) && self.key != "config"
    }

    /// Whether commas separate values in a flag or in the file.
    #[must_use]
    pub fn splits(&self) -> bool {
        self.arity == Arity::List
    }
}

const BOTH: &[Command] = &[Command::Run, Command::Record];
const RUN: &[Command] = &[Command::Run];
const RECORD: &[Command] = &[Command::Record];

/// Names come from these by default.
pub(super) const DEFAULT_NAME_SOURCES: &str = "env,annotation,label,owner,unit,script,exe";

/// All settings in the order of the help.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "duration",
        commands: RECORD,
        heading: Heading::Recording,
        value_name: "TIME",
        help: "How long [default: 10s, or until COMMAND ends]",
        check: |text| value::recording(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "output",
        commands: RECORD,
        heading: Heading::Recording,
        value_name: "FILE",
        help: "FILE ending in .pb.gz, .folded, .svg, .otlp or .json",
        ..Setting::PLAIN
    },
    Setting {
        key: "frequency",
        value_name: "HZ",
        help: "Hz per CPU [default: 99; 19 with endpoint]",
        check: |text| value::frequency(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "event",
        value_name: "EVENT",
        default: "cpu-clock",
        help: "cpu-clock or cycles",
        check: |text| value::word(text, value::EVENTS).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "no-kernel-stacks",
        arity: Arity::Switch,
        default: "false",
        help: "Leave the kernel's part of stacks out",
        check: |text| value::switch(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "unwind-max-bytes",
        value_name: "BYTES",
        default: "256MiB",
        help: "Memory for unwind tables; those not used for longest go first",
        check: |text| value::unwind_bytes(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "cpu-budget",
        commands: RUN,
        value_name: "PERCENT",
        help: "Share of all online CPUs' time for agent and kernel programs; samples less often to keep it",
        check: |text| value::cpu_budget(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "memory-budget",
        commands: RUN,
        value_name: "BYTES",
        help: "Memory for agent and BPF maps; caches shrink to keep it, then samples are fewer",
        check: |text| value::memory_budget(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "vary-frequency",
        commands: RUN,
        arity: Arity::Switch,
        help: "Sample at another frequency every second",
        check: |text| value::switch(text).map(drop),
        hidden: true,
        ..Setting::PLAIN
    },
    Setting {
        key: "ring-bytes",
        value_name: "BYTES",
        help: "Size of the ring buffer",
        check: |text| value::ring_bytes(text).map(drop),
        hidden: true,
        ..Setting::PLAIN
    },
    Setting {
        key: "pid",
        heading: Heading::Filters,
        value_name: "PID",
        arity: Arity::List,
        help: "Only this process; may be given several times",
        check: |text| value::pid(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "cgroup",
        heading: Heading::Filters,
        value_name: "PATH",
        help: "Only this cgroup (v1 or v2) and those below it",
        ..Setting::PLAIN
    },
    Setting {
        key: "endpoint",
        commands: RUN,
        heading: Heading::Export,
        value_name: "URL",
        arity: Arity::List,
        help: "Send OTLP profiles to URL; several are tried in order",
        check: |text| value::endpoint(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "protocol",
        commands: RUN,
        heading: Heading::Export,
        value_name: "PROTOCOL",
        default: "grpc",
        help: "OTLP over grpc or http",
        check: |text| value::word(text, value::PROTOCOLS).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "interval",
        commands: RUN,
        heading: Heading::Export,
        value_name: "TIME",
        default: "10s",
        help: "Length of one window, at least 1s",
        check: |text| value::interval(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "spool-dir",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FOLDER",
        help: "Keep windows here until an endpoint has them, across restarts",
        ..Setting::PLAIN
    },
    Setting {
        key: "spool-max-bytes",
        commands: RUN,
        heading: Heading::Export,
        value_name: "BYTES",
        default: "512MiB",
        help: "Disk for them; the oldest go first",
        check: |text| value::spool_bytes(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "tenant",
        commands: RUN,
        heading: Heading::Export,
        value_name: "TENANT",
        help: "Pyroscope tenant, sent as X-Scope-OrgID",
        check: |text| value::tenant(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "header",
        commands: RUN,
        heading: Heading::Export,
        value_name: "NAME=VALUE",
        arity: Arity::Pairs,
        help: "Further header of each request; secrets belong into header-file",
        check: |text| value::header(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "header-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Further headers, a line NAME: VALUE each; for secrets",
        ..Setting::PLAIN
    },
    Setting {
        key: "bearer-token-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Authenticate with the bearer token in FILE",
        ..Setting::PLAIN
    },
    Setting {
        key: "basic-auth-user",
        commands: RUN,
        heading: Heading::Export,
        value_name: "USER",
        help: "Authenticate as USER",
        ..Setting::PLAIN
    },
    Setting {
        key: "basic-auth-password-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Its password is in FILE",
        ..Setting::PLAIN
    },
    Setting {
        key: "ca-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Trust the certificate authorities in FILE (PEM), too",
        ..Setting::PLAIN
    },
    Setting {
        key: "tls-server-name",
        commands: RUN,
        heading: Heading::Export,
        value_name: "NAME",
        help: "Name in the server's certificate [default: the URL's]",
        check: |text| value::server_name(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "cert-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Client certificate (PEM)",
        ..Setting::PLAIN
    },
    Setting {
        key: "key-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Key of the client certificate (PEM)",
        ..Setting::PLAIN
    },
    Setting {
        key: "canary-url",
        commands: RUN,
        heading: Heading::Export,
        value_name: "URL",
        help: "Ask Pyroscope at URL for each window that was sent",
        check: |text| value::canary(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "canary-tenant",
        commands: RUN,
        heading: Heading::Export,
        value_name: "TENANT",
        help: "Tenant to ask for [default: that of tenant]",
        check: |text| value::tenant(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "canary-bearer-token-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Ask with the bearer token in FILE",
        ..Setting::PLAIN
    },
    Setting {
        key: "canary-basic-auth-user",
        commands: RUN,
        heading: Heading::Export,
        value_name: "USER",
        help: "Ask as USER",
        ..Setting::PLAIN
    },
    Setting {
        key: "canary-basic-auth-password-file",
        commands: RUN,
        heading: Heading::Export,
        value_name: "FILE",
        help: "Its password is in FILE",
        ..Setting::PLAIN
    },
    Setting {
        key: "service-name-from",
        heading: Heading::Naming,
        value_name: "SOURCES",
        arity: Arity::List,
        default: DEFAULT_NAME_SOURCES,
        help: "Best first",
        check: |text| value::name_source(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "label",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "KEY=VALUE",
        arity: Arity::Pairs,
        help: "Label of every series; may be given several times",
        check: |text| value::label(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "label-style",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "STYLE",
        default: "underscore",
        help: "Label keys with underscore or dot",
        check: |text| value::word(text, value::LABEL_STYLES).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "label-preset",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "PRESET",
        default: "default",
        help: "Labels of pods: default, or namespace, pod and container as alloy has them",
        check: |text| value::word(text, value::LABEL_PRESETS).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "pod-label",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "NAME[=KEY]",
        arity: Arity::List,
        help: "Label of pods that their series have, too [KEY: k8s.pod.label.NAME]",
        check: |text| value::pod_label(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "pod-annotation",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "NAME[=KEY]",
        arity: Arity::List,
        help: "Annotation of pods that their series have [KEY: k8s.pod.annotation.NAME]",
        check: |text| value::pod_annotation(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "container-sockets",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "SOCKETS",
        arity: Arity::List,
        default: crate::engines::SOCKETS,
        help: "Ask Docker and Podman there for the names of containers; off for nobody",
        check: |text| value::socket(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "max-series",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "COUNT",
        default: "200",
        help: "Series on the server at most; beyond it pods and processes are called other",
        check: |text| value::max_series(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "debuginfod",
        commands: RUN,
        heading: Heading::Naming,
        value_name: "URL",
        arity: Arity::List,
        help: "Ask this server for debug info; several are tried in order",
        check: |text| value::debuginfod(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "kubernetes",
        commands: RUN,
        heading: Heading::Kubernetes,
        value_name: "WHEN",
        default: "auto",
        help: "Ask the API server for this node's pods: on, off, or auto, in a pod",
        check: |text| value::word(text, value::KUBERNETES).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "node-name",
        commands: RUN,
        heading: Heading::Kubernetes,
        value_name: "NAME",
        help: "Name of this node, spec.nodeName of the agent's pod",
        check: |text| value::node_name(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "kubernetes-account",
        commands: RUN,
        heading: Heading::Kubernetes,
        value_name: "FOLDER",
        default: crate::kubernetes::ACCOUNT,
        help: "Folder of the service account's token and ca.crt",
        ..Setting::PLAIN
    },
    Setting {
        key: "kubelet-fallback",
        commands: RUN,
        heading: Heading::Kubernetes,
        arity: Arity::Switch,
        default: "false",
        help: "Ask the kubelet for pods while the API server does not answer",
        check: |text| value::switch(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "kubelet-url",
        commands: RUN,
        heading: Heading::Kubernetes,
        value_name: "URL",
        help: "Where the kubelet is; port 10250 of the node's name otherwise",
        check: |text| value::kubelet(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "kubelet-ca-file",
        commands: RUN,
        heading: Heading::Kubernetes,
        value_name: "FILE",
        help: "Who signs the kubelet's certificate; ca.crt of the service account otherwise",
        ..Setting::PLAIN
    },
    Setting {
        key: "annotation-prefix",
        commands: RUN,
        heading: Heading::Kubernetes,
        value_name: "PREFIX",
        default: "profiler",
        help: "PREFIX/enabled and PREFIX/frequency of pods and namespaces say what is sampled",
        check: |text| value::annotation_prefix(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "default-enabled",
        commands: RUN,
        heading: Heading::Kubernetes,
        value_name: "BOOL",
        default: "true",
        help: "Sample pods without an annotation",
        check: |text| value::switch(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "listen",
        commands: RUN,
        heading: Heading::Page,
        value_name: "ADDRESS",
        default: "127.0.0.1:4041",
        help: "Page, or off",
        check: |text| value::listen(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "page-token-file",
        commands: RUN,
        heading: Heading::Page,
        value_name: "FILE",
        help: "Token the page asks for off loopback",
        ..Setting::PLAIN
    },
    Setting {
        key: "metrics-open",
        commands: RUN,
        heading: Heading::Page,
        arity: Arity::Switch,
        default: "false",
        help: "Show /metrics off loopback without the token",
        check: |text| value::switch(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "allowed-host",
        commands: RUN,
        heading: Heading::Page,
        value_name: "NAME",
        arity: Arity::List,
        help: "Further name the page is reached by",
        check: |text| value::host(text).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "config",
        commands: RUN,
        heading: Heading::Configuration,
        value_name: "FILE",
        help: "TOML; keys are the flags without dashes in front",
        ..Setting::PLAIN
    },
    Setting {
        key: "log-level",
        heading: Heading::Logging,
        value_name: "LEVEL",
        default: "info",
        help: "error, warn, info, debug or trace",
        check: |text| value::word(text, value::LOG_LEVELS).map(drop),
        ..Setting::PLAIN
    },
    Setting {
        key: "log-format",
        heading: Heading::Logging,
        value_name: "FORMAT",
        default: "text",
        help: "text or json",
        check: |text| value::word(text, value::LOG_FORMATS).map(drop),
        ..Setting::PLAIN
    },
];
