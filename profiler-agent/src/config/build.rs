//! From layers to plain values.

use super::layer::{Environment, Item, Layer, Mistakes, Origin};
use super::setting::{Arity, Command, DEFAULT_NAME_SOURCES, SETTINGS, Setting};
use super::table::Table;
use super::value::{self, Parsed};
use super::{LogConfig, RecordConfig, RunConfig, SampleConfig, SpoolConfig, environment, file, rules};
use crate::canary::CanaryConfig;
use crate::engines::SOCKETS;
use crate::export::{Auth, ExportConfig};
use crate::governor::Budgets;
use crate::kubernetes::{ACCOUNT, KubernetesConfig, PodLabels};
use crate::relabel::Rules;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tracing::Level;

/// With nobody at the other end: fine enough to look at.
pub const FREQUENCY_ALONE: u32 = 99;
/// Continuous, of a whole fleet: coarse enough to forget.
const FREQUENCY_WITH_ENDPOINT: u32 = 19;

/// Settings of bearer token, user and password.
const EXPORT_AUTH: [&str; 3] = ["bearer-token-file", "basic-auth-user", "basic-auth-password-file"];
/// The same of the canary.
const CANARY_AUTH: [&str; 3] =
    ["canary-bearer-token-file", "canary-basic-auth-user", "canary-basic-auth-password-file"];

/// The effective text of every setting, with its origin.
#[derive(Clone, Debug)]
pub struct Settings {
    layer: Layer,
}

impl Settings {
    /// Lays flags over the environment over the file that one of them names.
    ///
    /// # Errors
    /// Every mistake in any layer, also in values that a higher layer overrides, and contradictions.
    pub fn new(command: Command, flags: &Layer, environment: Environment<'_>) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        let environment = environment::read(command, environment, &mut mistakes);
        let named = flags.items("config").first().or_else(|| environment.items("config").first());
        let file = named.map(|item| file::read_file(Path::new(&item.text), &mut mistakes)).unwrap_or_default();
        for layer in [&file, &environment, flags] {
            check(layer, &mut mistakes);
        }
        let layer = file.under(environment).under(flags.clone());
        contradictions(&layer, &mut mistakes);
        if mistakes.0.is_empty() { Ok(Self { layer }) } else { Err(mistakes.in_order()) }
    }

    /// Items of a setting; empty when its default applies.
    #[must_use]
    pub fn items(&self, key: &str) -> &[Item] {
        self.layer.items(key)
    }

    /// Tables of the file.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        self.layer.tables()
    }

    /// Hz when nobody says.
    pub(super) fn default_frequency(&self) -> u32 {
        if self.items("endpoint").is_empty() { FREQUENCY_ALONE } else { FREQUENCY_WITH_ENDPOINT }
    }

    /// The value of a setting with one, else its declared default. Texts were checked: what fails here is absent.
    fn one<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        let text = self.items(key).last().map(|item| item.text.as_str());
        let text = text.or_else(|| Setting::named(key).map(|setting| setting.default));
        text.filter(|text| !text.is_empty()).and_then(|text| parse(text).ok())
    }

    fn many<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Vec<T> {
        self.items(key).iter().filter_map(|item| parse(&item.text).ok()).collect()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.one(key, value::text).map(PathBuf::from)
    }

    fn switch(&self, key: &str) -> bool {
        self.one(key, value::switch).unwrap_or(false)
    }

    fn sample(&self) -> SampleConfig {
        let mut sources = self.many("service-name-from", value::name_source);
        if sources.is_empty() {
            sources = DEFAULT_NAME_SOURCES.split(',').filter_map(|word| value::name_source(word).ok()).collect();
        }
        SampleConfig {
            frequency: self.one("frequency", value::frequency).unwrap_or_else(|| self.default_frequency()),
            event: self.one("event", |text| value::word(text, value::EVENTS)).unwrap_or(crate::bpf::Clock::CpuClock),
            pids: self.many("pid", value::pid),
            cgroup: self.path("cgroup"),
            kernel_stacks: !self.switch("no-kernel-stacks"),
            service_name_from: sources,
            labels: self.many("label", value::label),
            label_style: self.one("label-style", |text| value::word(text, value::LABEL_STYLES)).unwrap_or_default(),
            pod_labels: PodLabels {
                preset: self.one("label-preset", |text| value::word(text, value::LABEL_PRESETS)).unwrap_or_default(),
                labels: self.many("pod-label", value::pod_label),
                annotations: self.many("pod-annotation", value::pod_annotation),
            },
            unwind_max_bytes: self.one("unwind-max-bytes", value::unwind_bytes).unwrap_or(value::UNWIND_BYTES),
            ring_bytes: self.one("ring-bytes", value::ring_bytes),
            log: LogConfig {
                level: self.one("log-level", |text| value::word(text, value::LOG_LEVELS)).unwrap_or(Level::INFO),
                json: self.one("log-format", |text| value::word(text, value::LOG_FORMATS)).unwrap_or(false),
            },
        }
    }

    fn export(&self) -> ExportConfig {
        ExportConfig {
            protocol: self.one("protocol", |text| value::word(text, value::PROTOCOLS)).unwrap_or_default(),
            tenant: self.one("tenant", value::tenant),
            headers: self.many("header", value::header),
            header_file: self.path("header-file"),
            auth: self.auth(EXPORT_AUTH),
            tls_server_name: self.one("tls-server-name", value::server_name),
            ca_file: self.path("ca-file"),
            cert_file: self.path("cert-file"),
            key_file: self.path("key-file"),
            ..ExportConfig::new(self.many("endpoint", value::endpoint))
        }
    }

    fn auth(&self, [bearer, user, password]: [&str; 3]) -> Auth {
        let basic = || {
            let (user, file) = (self.one(user, value::text)?, self.path(password)?);
            Some(Auth::Basic { user, password_file: file })
        };
        self.path(bearer).map(Auth::BearerFile).or_else(basic).unwrap_or_default()
    }

    fn canary(&self) -> Option<CanaryConfig> {
        Some(CanaryConfig {
            url: self.one("canary-url", value::canary)?,
            tenant: self.one("canary-tenant", value::tenant).or_else(|| self.one("tenant", value::tenant)),
            auth: self.auth(CANARY_AUTH),
            ca_file: self.path("ca-file"),
        })
    }

    fn kubernetes(&self) -> KubernetesConfig {
        KubernetesConfig {
            when: self.one("kubernetes", |text| value::word(text, value::KUBERNETES)).unwrap_or_default(),
            node_name: self.one("node-name", value::node_name),
            account: self.path("kubernetes-account").unwrap_or_else(|| ACCOUNT.into()),
            annotation_prefix: self.one("annotation-prefix", value::annotation_prefix).unwrap_or_default(),
            default_enabled: self.one("default-enabled", value::switch).unwrap_or(true),
            kubelet_fallback: self.switch("kubelet-fallback"),
            kubelet_url: self.one("kubelet-url", value::kubelet),
            kubelet_ca_file: self.path("kubelet-ca-file"),
        }
    }

    fn container_sockets(&self) -> Vec<PathBuf> {
        let default = || SOCKETS.split(',').map(PathBuf::from).collect();
        match self.items("container-sockets") {
            [] => default(),
            items => items.iter().filter_map(|item| value::socket(&item.text).ok().flatten()).collect(),
        }
    }

    fn run_config(&self) -> RunConfig {
        RunConfig {
            sample: self.sample(),
            export: self.export(),
            spool: self.path("spool-dir").map(|folder| SpoolConfig {
                folder,
                max_bytes: self.one("spool-max-bytes", value::spool_bytes).unwrap_or(value::SPOOL_BYTES),
            }),
            // Tables were checked: none has a mistake.
            relabel: Rules::new(rules::relabel(&self.layer, &mut Mistakes::default())),
            max_series: self.one("max-series", value::max_series).unwrap_or(value::MAX_SERIES),
            service_frequencies: rules::frequencies(&self.layer, &mut Mistakes::default()),
            kubernetes: self.kubernetes(),
            container_sockets: self.container_sockets(),
            canary: self.canary(),
            interval: self.one("interval", value::interval).unwrap_or(value::DEFAULT_INTERVAL),
            budgets: Budgets {
                cpu: self.one("cpu-budget", value::cpu_budget),
                memory_bytes: self.one("memory-budget", value::memory_budget),
                varies: self.switch("vary-frequency"),
            },
            debuginfod: self.many("debuginfod", value::debuginfod),
            listen: self.one("listen", value::listen).flatten(),
            page_token_file: self.path("page-token-file"),
            metrics_open: self.switch("metrics-open"),
            allowed_hosts: self.many("allowed-host", value::host),
        }
    }
}

/// Configuration of `run`; called again to reload.
///
/// # Errors
/// Every mistake.
pub fn run(flags: &Layer, environment: Environment<'_>) -> Result<RunConfig, Mistakes> {
    Settings::new(Command::Run, flags, environment).map(|settings| settings.run_config())
}

/// Configuration of `record`.
///
/// # Errors
/// Every mistake.
pub fn record(flags: &Layer, command: Vec<OsString>, environment: Environment<'_>) -> Result<RecordConfig, Mistakes> {
    let settings = Settings::new(Command::Record, flags, environment)?;
    Ok(RecordConfig {
        sample: settings.sample(),
        duration: settings.one("duration", value::recording),
        output: settings.path("output"),
        command,
    })
}

/// Checks every value and every table of a layer on its own.
pub(super) fn check(layer: &Layer, mistakes: &mut Mistakes) {
    // In the order of the help, not of the alphabet.
    for setting in SETTINGS {
        let items = layer.items(setting.key);
        for item in items {
            if let Err(wrong) = (setting.check)(&item.text) {
                let shown = value::for_message(setting.key, &item.text);
                mistakes.add(item.origin.clone(), format!("{} {shown:?} {}", setting.key, wrong.0));
            }
        }
    }
    rules::relabel(layer, mistakes);
    rules::frequencies(layer, mistakes);
}

/// What single values cannot show.
pub(super) fn contradictions(layer: &Layer, mistakes: &mut Mistakes) {
    let given = |key: &str| layer.items(key).first();
    for (one, other) in [("key-file", "cert-file"), ("cert-file", "key-file")] {
        if let (Some(item), None) = (given(one), given(other)) {
            mistakes.add(item.origin.clone(), format!("{one} without {other}; give both or neither"));
        }
    }
    let basic = credentials(EXPORT_AUTH, layer, mistakes);
    credentials(CANARY_AUTH, layer, mistakes);
    let authorization = layer.items("header").iter().find(|item| {
        item.text.split_once('=').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("authorization"))
    });
    if let (Some(header), Some(other)) = (authorization, given("bearer-token-file").or(basic)) {
        let text = format!(
            "header authorization ({}) besides other credentials ({}); only one can authenticate",
            header.origin, other.origin
        );
        mistakes.add(blamed(header, other), text);
    }
    nameless_node(layer, mistakes);
    repeated_labels(layer, mistakes);
    canary_alone(layer, mistakes);
}

/// Half of a pair, or a pair besides a token; the item of basic authentication, if there is one.
fn credentials<'a>(keys: [&str; 3], layer: &'a Layer, mistakes: &mut Mistakes) -> Option<&'a Item> {
    let [bearer, user, password] = keys;
    let given = |key: &str| layer.items(key).first();
    for (one, other) in [(user, password), (password, user)] {
        if let (Some(item), None) = (given(one), given(other)) {
            mistakes.add(item.origin.clone(), format!("{one} without {other}; give both or neither"));
        }
    }
    let basic = given(user).or_else(|| given(password));
    if let (Some(token), Some(basic)) = (given(bearer), basic) {
        let scheme = user.trim_end_matches("-user");
        let text =
            format!("{bearer} ({}) besides {scheme} ({}); only one can authenticate", token.origin, basic.origin);
        mistakes.add(blamed(token, basic), text);
    }
    basic
}

/// Pods are asked for by the name of their node.
fn nameless_node(layer: &Layer, mistakes: &mut Mistakes) {
    if let (Some(item), []) = (layer.items("kubernetes").last(), layer.items("node-name"))
        && item.text == "on"
    {
        mistakes.add(item.origin.clone(), "kubernetes on without node-name; give that, too".to_owned());
    }
}

/// Nothing is asked for that nobody sends, and nobody asked without an address.
fn canary_alone(layer: &Layer, mistakes: &mut Mistakes) {
    let of_canary = ["canary-tenant"].into_iter().chain(CANARY_AUTH).map(|key| (key, "canary-url"));
    for (key, needed) in of_canary.chain([("canary-url", "endpoint")]) {
        if let (Some(item), []) = (layer.items(key).first(), layer.items(needed)) {
            mistakes.add(item.origin.clone(), format!("{key} without {needed}; give that, too"));
        }
    }
}

/// Of two items that contradict each other the one that is no flag: it makes a bad configuration.
fn blamed(one: &Item, other: &Item) -> Origin {
    let item = if matches!(one.origin, Origin::Flag(_)) { other } else { one };
    item.origin.clone()
}

/// A label with two values; `a.b` and `a_b` are the same label to Pyroscope.
fn repeated_labels(layer: &Layer, mistakes: &mut Mistakes) {
    let mut earlier = HashMap::<String, &Item>::new();
    for item in layer.items("label") {
        let Some((key, _)) = item.text.split_once('=') else { continue };
        match earlier.entry(key.replace('.', "_")) {
            Entry::Vacant(entry) => drop(entry.insert(item)),
            Entry::Occupied(entry) => {
                let Item { origin, text } = entry.get();
                let text = format!("label {:?} is given twice (also {origin}: {text:?}); once", item.text);
                mistakes.add(item.origin.clone(), text);
            }
        }
    }
}

/// The values that apply to a setting as texts, with the origin of the first.
pub(super) fn effective(settings: &Settings, setting: &Setting) -> (Vec<String>, Origin) {
    let items = settings.items(setting.key);
    if let Some(first) = items.first() {
        return (items.iter().map(|item| item.text.clone()).collect(), first.origin.clone());
    }
    let default = match setting.key {
        "frequency" => settings.default_frequency().to_string(),
        _ => setting.default.to_owned(),
    };
    let texts: Vec<String> = match setting.arity {
        Arity::List | Arity::Pairs => default.split(',').map(str::to_owned).collect(),
        Arity::One | Arity::Switch => vec![default],
    };
    (texts.into_iter().filter(|text| !text.is_empty()).collect(), Origin::Default)
}

#[cfg(test)]
mod tests;
