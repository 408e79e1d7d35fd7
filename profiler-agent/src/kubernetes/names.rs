//! What samples of a process in a pod, or in a container of a plain host, are labelled with.
//!
//! Names follow the semantic conventions' "Specify resource attributes using Kubernetes annotations": an annotation, then
//! well-known labels, then what owns the pod.

use super::config::{LabelPreset, PodLabels};
use super::pod::{Pod, PodContainer};
use super::store::Store;
use crate::container::{Container, image};
use crate::engines::{self, Described};
use crate::process::{Identity, NameSource, printable};
use std::sync::Arc;
use std::time::Instant;

/// Annotations that are attributes: `resource.opentelemetry.io/service.name`.
const ATTRIBUTE: &str = "resource.opentelemetry.io/";
/// The same of Pyroscope's own collectors.
const GRAFANA: &str = "profiles.grafana.com/";
/// What Pyroscope's source view asks for, as [`GRAFANA`] annotations and as labels.
const SOURCE_VIEW: [&str; 3] = ["service_repository", "service_git_ref", "service_root_path"];
/// Well-known labels that name a service, best first.
const NAME_LABELS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/name"];
/// The well-known label of a version.
const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// What names a service for Alloy where no rule does.
const ALLOY_NAME: &str = "pyroscope.io/service_name";

/// Key and value.
type Label = (Arc<str>, Arc<str>);

/// Name and labels of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    /// `service.name`.
    pub name: Arc<str>,
    /// Further labels, sorted by key.
    pub labels: Vec<Label>,
}

/// Names processes by their pods, and on plain hosts by their containers.
#[derive(Clone, Debug, Default)]
pub struct PodNames {
    store: Arc<Store>,
    engines: Arc<engines::Store>,
    sources: Vec<NameSource>,
    wanted: PodLabels,
}

impl PodNames {
    /// Asks the sources of names in turn.
    #[must_use]
    pub fn new(store: Arc<Store>, sources: Vec<NameSource>, wanted: PodLabels) -> Self {
        Self { store, engines: Arc::default(), sources, wanted }
    }

    /// Also asks what container engines have told.
    #[must_use]
    pub fn with_engines(self, engines: Arc<engines::Store>) -> Self {
        Self { engines, ..self }
    }

    /// A number that is another one when names may be: both only grow.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.store.version() + self.engines.version()
    }

    /// A process has a sample: its container is asked for now, so that it has a name when the window ends.
    pub fn expect(&self, identity: &Identity) {
        if let Some(container) = &identity.container {
            let _ = self.engines.find(container, Instant::now());
        }
    }

    /// Name and labels of a process by what is known now; its own where it is in no container.
    #[must_use]
    pub fn of(&self, identity: &Identity) -> Named {
        let Some(container) = &identity.container else {
            return Named { name: Arc::clone(&identity.service), labels: identity.labels.clone() };
        };
        let Some(pod) = self.store.find(container) else { return self.without_pod(identity, container) };
        let inside = pod.container(&container.ids);
        match self.wanted.preset {
            LabelPreset::Default => self.by_convention(identity, &pod, inside),
            LabelPreset::Alloy => self.as_alloy(identity, &pod, inside),
        }
    }

    /// By what an engine says of the container, or else with the container's id.
    fn without_pod(&self, identity: &Identity, container: &Container) -> Named {
        let (mut name, mut labels) = (Arc::clone(&identity.service), identity.labels.clone());
        match (self.engines.find(container, Instant::now()), self.wanted.preset) {
            (Some(found), LabelPreset::Default) => {
                engines::labels(&found).into_iter().for_each(|(key, value)| add(&mut labels, key, value));
                name = self.service(identity, |source| engines::answer(source, &found).map(str::to_owned));
            }
            (Some(found), LabelPreset::Alloy) => return container_as_alloy(identity, &found),
            (None, LabelPreset::Default) => add(&mut labels, "container.id", container.id().map(|id| &**id)),
            (None, LabelPreset::Alloy) => {}
        }
        sorted(Named { name, labels })
    }

    fn by_convention(&self, identity: &Identity, pod: &Pod, inside: Option<&PodContainer>) -> Named {
        let annotation = |name: &str| pod.annotations.get(&format!("{ATTRIBUTE}{name}")).map(String::as_str);
        let version = annotation("service.version").or(pod.labels.get(VERSION_LABEL).map(String::as_str));
        let version = version.or_else(|| image::version(inside?.image.as_deref()?));
        let mut labels = identity.labels.clone();
        add(&mut labels, "service.namespace", annotation("service.namespace").or(Some(&pod.namespace)));
        add(&mut labels, "service.version", version);
        add(&mut labels, "k8s.namespace.name", Some(&pod.namespace));
        add(&mut labels, "k8s.pod.name", Some(&pod.name));
        add(&mut labels, "k8s.container.name", inside.map(|container| container.name.as_str()));
        add(&mut labels, "k8s.node.name", pod.node.as_deref());
        if let Some(key) = owner_key(&pod.owner.kind) {
            add(&mut labels, &key, Some(&pod.owner.name));
        }
        for key in SOURCE_VIEW {
            add(&mut labels, key, pod.annotations.get(&format!("{GRAFANA}{key}")).map(String::as_str));
        }
        self.add_chosen(&mut labels, pod);
        sorted(Named { name: self.service(identity, |source| answer(source, pod)), labels })
    }

    fn as_alloy(&self, identity: &Identity, pod: &Pod, inside: Option<&PodContainer>) -> Named {
        let annotated = [ALLOY_NAME.to_owned(), format!("{GRAFANA}service_name")];
        let annotated = annotated.iter().find_map(|key| printable(pod.annotations.get(key)?));
        let name = annotated.or_else(|| printable(&format!("{}/{}", pod.namespace, inside?.name)));
        let mut labels = Vec::new();
        add(&mut labels, "namespace", Some(&pod.namespace));
        add(&mut labels, "pod", Some(&pod.name));
        add(&mut labels, "container", inside.map(|container| container.name.as_str()));
        self.add_chosen(&mut labels, pod);
        sorted(Named { name: name.map_or_else(|| Arc::clone(&identity.service), Arc::from), labels })
    }

    fn add_chosen(&self, labels: &mut Vec<Label>, pod: &Pod) {
        let chosen = self.wanted.labels.iter().map(|(name, key)| (pod.labels.get(name), key));
        let annotations = self.wanted.annotations.iter().map(|(name, key)| (pod.annotations.get(name), key));
        chosen.chain(annotations).for_each(|(value, key)| add(labels, key, value.map(String::as_str)));
    }

    /// The first source that says something; what the process said itself was found before.
    fn service(&self, identity: &Identity, answer: impl Fn(NameSource) -> Option<String>) -> Arc<str> {
        for source in &self.sources {
            if identity.source == Some(*source) {
                break;
            }
            if let Some(name) = answer(*source) {
                return Arc::from(name);
            }
        }
        Arc::clone(&identity.service)
    }
}

/// Alloy calls what is in no pod by its container.
fn container_as_alloy(identity: &Identity, container: &Described) -> Named {
    let name = container.name.as_deref();
    let mut labels = Vec::new();
    add(&mut labels, "container", name);
    Named { name: name.map_or_else(|| Arc::clone(&identity.service), Arc::from), labels }
}

/// What a pod says of its name.
fn answer(source: NameSource, pod: &Pod) -> Option<String> {
    match source {
        NameSource::Annotation => {
            let keys = [format!("{ATTRIBUTE}service.name"), format!("{GRAFANA}service_name")];
            keys.iter().find_map(|key| printable(pod.annotations.get(key)?))
        }
        NameSource::Label => NAME_LABELS.iter().find_map(|key| printable(pod.labels.get(*key)?)),
        NameSource::Owner => printable(&pod.owner.name),
        NameSource::Env | NameSource::Unit | NameSource::Script | NameSource::Exe => None,
    }
}

/// `k8s.deployment.name`; none for a pod that nothing owns.
fn owner_key(kind: &str) -> Option<String> {
    let plain = kind.len() <= 63 && !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain && kind != "Pod").then(|| format!("k8s.{}.name", kind.to_ascii_lowercase()))
}

/// Adds a label unless there is one of that key, or nothing to say.
fn add(labels: &mut Vec<Label>, key: &str, value: Option<&str>) {
    if let Some(value) = value.and_then(printable)
        && !labels.iter().any(|(known, _)| **known == *key)
    {
        labels.push((Arc::from(key), Arc::from(value)));
    }
}

fn sorted(mut named: Named) -> Named {
    named.labels.sort();
    named
}
