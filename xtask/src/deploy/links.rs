//! Addresses inside the cluster: what an object names must be a service that is rendered, with that port.

use super::manifest::{self, kind, name};
use super::outcome::Outcome;
use regex_lite::Regex;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a release is made of.
pub(super) struct Objects {
    pub(super) release: String,
    pub(super) namespace: String,
    pub(super) objects: Vec<Value>,
}

/// `SERVICE.NAMESPACE.svc:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) service: String,
    pub(super) namespace: String,
    /// None where the text has no port and no scheme that would imply one.
    pub(super) port: Option<u64>,
}

impl Objects {
    /// Objects of a release; those that name no namespace are in that of the release.
    pub(super) fn new(release: &str, namespace: &str, objects: Vec<Value>) -> Self {
        Self { release: release.to_owned(), namespace: namespace.to_owned(), objects }
    }

    /// Those of a kind.
    pub(super) fn of_kind<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| kind(object) == wanted)
    }

    fn namespace_of<'a>(&'a self, object: &'a Value) -> &'a str {
        match manifest::text(object, "/metadata/namespace") {
            "" => &self.namespace,
            namespace => namespace,
        }
    }

    /// Whether a service of it answers there.
    pub(super) fn answers(&self, address: &Address) -> bool {
        let mut services = self.of_kind("Service");
        services.any(|service| {
            let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
            name(service) == address.service
                && self.namespace_of(service) == address.namespace
                && address.port.is_none_or(|port| ports.any(|given| given["port"].as_u64() == Some(port)))
        })
    }

    /// Addresses that its objects name.
    pub(super) fn addresses(&self) -> BTreeSet<Address> {
        let mut found = BTreeSet::new();
        for object in self.objects.iter().filter(|object| kind(object) != "CustomResourceDefinition") {
            manifest::strings(object, &mut |text| found.extend(addresses(text)));
        }
        found
    }
}

/// Addresses in a text.
pub(super) fn addresses(text: &str) -> Vec<Address> {
    let pattern =
        r"(https?://)?\b([a-z0-9][a-z0-9-]*)\.([a-z0-9][a-z0-9-]*)\.svc\b(?:\.cluster\.local\b)?\.?(?::(\d+))?";
    let Ok(pattern) = Regex::new(pattern) else { return Vec::new() };
    let found = pattern.captures_iter(text).map(|found| {
        let group = |number| found.get(number).map(|part| part.as_str());
        let implied = group(1).map(|scheme| if scheme == "https://" { 443 } else { 80 });
        Address {
            service: group(2).unwrap_or_default().to_owned(),
            namespace: group(3).unwrap_or_default().to_owned(),
            port: group(4).and_then(|port| port.parse().ok()).or(implied),
        }
    });
    found.collect()
}

/// Each address in another namespace of the stack is that of a service. Those in their own are a chart's own affair: proxies
/// have places for parts that are switched off.
pub(super) fn check(profile: &str, releases: &[Objects], outcome: &mut Outcome) {
    for release in releases {
        for address in release.addresses() {
            let mut others = releases.iter().filter(|other| other.namespace != release.namespace);
            let is_ours = others.any(|other| other.namespace == address.namespace);
            let answered = releases.iter().any(|other| other.answers(&address));
            outcome.expect(!is_ours || answered, || {
                let Address { service, namespace, port } = &address;
                format!("{profile}: {} names {service}.{namespace}, port {port:?}: no such service", release.release)
            });
        }
    }
}

/// Which release names a service of which other one.
pub(super) fn between(releases: &[Objects]) -> Vec<(String, String)> {
    let mut links = BTreeSet::new();
    for from in releases {
        for address in from.addresses() {
            for to in releases.iter().filter(|to| to.release != from.release && to.answers(&address)) {
                links.insert((from.release.clone(), to.release.clone()));
            }
        }
    }
    links.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn address(service: &str, namespace: &str, port: Option<u64>) -> Address {
        Address { service: service.to_owned(), namespace: namespace.to_owned(), port }
    }

    #[test]
    fn reads_addresses_in_texts() {
        let text = "url: http://a.b.svc.cluster.local:80/x, S3 c-1.d.svc:9000; https://e.f.svc/ g.h.svc.cluster.local";
        let expected = [
            address("a", "b", Some(80)),
            address("c-1", "d", Some(9000)),
            address("e", "f", Some(443)),
            address("g", "h", None),
        ];
        assert_eq!(addresses(text), expected);
        assert_eq!(addresses("kubernetes.io/svc and a.svcx:1"), []);
    }

    #[test]
    fn a_service_answers_on_its_ports() {
        let service = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
        let objects = Objects::new("r", "b", vec![service]);
        assert!(objects.answers(&address("a", "b", Some(80))));
        assert!(!objects.answers(&address("a", "b", Some(81))));
        assert!(!objects.answers(&address("a", "c", Some(80))));
        assert!(!objects.answers(&address("minio", "b", Some(80))));
    }
}
