//! deploy/flux: valid, in an order that ends, every release rendered with its values, every address that of a service.

use super::links::{self, Address, Objects};
use super::manifest::{self, kind, name, text};
use super::outcome::Outcome;
use super::render::{Release, Tools};
use super::vendor;
use super::versions::Versions;
use crate::places;
use anyhow::{Context, Result};
use regex_lite::{Captures, Regex};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const NAMESPACE: &str = "observability";
/// Folders that are kustomizations.
const FOLDERS: &[&str] = &["sources", "secrets", "apps", "routes"];

/// Checks all of it.
pub(super) fn verify(versions: &Versions, tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let root = places::workspace().join("deploy/flux");
    let entry = std::fs::read_to_string(root.join("observability.yaml"))?;
    conforms("flux", &entry, tools, outcome);
    order(&manifest::documents(&entry)?, "Kustomization", outcome);
    let addresses = manifest::read_one(&root.join("sources/addresses.yaml"))?;
    let mut objects = Vec::new();
    for folder in FOLDERS {
        let yaml = tools.kustomize(&root.join(folder))?;
        let yaml = match *folder {
            "apps" | "routes" => substituted(&yaml, &addresses["data"])?,
            _ => yaml,
        };
        conforms(&format!("flux/{folder}"), &yaml, tools, outcome);
        objects.extend(manifest::documents(&yaml)?);
    }
    order(&objects, "HelmRelease", outcome);
    let mut all = Vec::new();
    for release in objects.iter().filter(|object| kind(object) == "HelmRelease") {
        all.extend(rendered(release, versions, tools, outcome)?);
    }
    services(&all, &addresses["data"], &objects, outcome);
    Ok(())
}

fn conforms(what: &str, yaml: &str, tools: &Tools, outcome: &mut Outcome) {
    outcome.rendered(what, tools.conforms(yaml, tools.newest()));
}

/// `${NAME}` as Flux puts values in; `$${NAME}` becomes `${NAME}`.
fn substituted(yaml: &str, values: &Value) -> Result<String> {
    let pattern = Regex::new(r"\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}")?;
    let mut unknown = BTreeSet::new();
    let text = pattern.replace_all(yaml, |found: &Captures<'_>| match &found[0] {
        whole if whole.starts_with("$$") => whole[1..].to_owned(),
        whole => values[&found[1]].as_str().map(str::to_owned).unwrap_or_else(|| {
            unknown.insert(found[1].to_owned());
            whole.to_owned()
        }),
    });
    anyhow::ensure!(unknown.is_empty(), "observability-addresses has no {unknown:?}");
    Ok(text.into_owned())
}

/// Everything that something waits for is there, and nothing waits for itself.
fn order(objects: &[Value], wanted: &str, outcome: &mut Outcome) {
    let waits: BTreeMap<&str, Vec<&str>> = objects
        .iter()
        .filter(|object| kind(object) == wanted)
        .map(|object| {
            let list = object["spec"]["dependsOn"].as_array().into_iter().flatten();
            (name(object), list.map(|entry| text(entry, "/name")).collect())
        })
        .collect();
    for (from, to) in waits.iter().flat_map(|(from, list)| list.iter().map(move |to| (from, to))) {
        outcome.expect(waits.contains_key(to), || format!("flux: {from} waits for {to}, which is not there"));
    }
    // What waits for nothing that is left may begin; what remains waits for itself.
    let mut left = waits;
    loop {
        let ready: Vec<&str> = left
            .iter()
            .filter(|(_, list)| !list.iter().any(|to| left.contains_key(to)))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            break;
        }
        ready.iter().for_each(|name| drop(left.remove(name)));
    }
    outcome.expect(left.is_empty(), || format!("flux: {:?} wait for each other", left.keys()));
}

/// A release with its values, on the newest Kubernetes.
fn rendered(release: &Value, versions: &Versions, tools: &Tools, outcome: &mut Outcome) -> Result<Option<Objects>> {
    let chart = text(release, "/spec/chart/spec/chart");
    let what = format!("flux {} ({chart})", name(release));
    let folder = match chart.strip_prefix("./") {
        Some(path) => places::workspace().join(path),
        None => {
            let known = versions.chart(chart).with_context(|| format!("{what}: not in deploy/versions.toml"))?;
            let version = text(release, "/spec/chart/spec/version");
            outcome.expect(version == known.shipped, || format!("{what}: version {version}, not {}", known.shipped));
            let folder = tools.folder("flux").join(name(release));
            vendor::upstream(versions, chart, &folder)?;
            folder
        }
    };
    let values = tools.folder(&format!("flux-{}.yaml", name(release)));
    std::fs::write(&values, release["spec"]["values"].to_string())?;
    let files = [values];
    let helm = Release { name: name(release), chart: &folder, namespace: NAMESPACE, files: &files, set: &[] };
    let yaml = match tools.template(&helm, tools.newest()) {
        Ok(yaml) => yaml,
        Err(error) => {
            outcome.check(&what, Err(error));
            return Ok(None);
        }
    };
    conforms(&what, &yaml, tools, outcome);
    Ok(Some(Objects::new(name(release), NAMESPACE, manifest::documents(&yaml)?)))
}

/// Every address of the table and of the values is that of a service; so is every backend of a route.
fn services(all: &[Objects], addresses: &Value, objects: &[Value], outcome: &mut Outcome) {
    let mut named: BTreeSet<Address> = BTreeSet::new();
    manifest::strings(addresses, &mut |text| named.extend(links::addresses(text)));
    for release in objects.iter().filter(|object| kind(object) == "HelmRelease") {
        manifest::strings(&release["spec"]["values"], &mut |text| named.extend(links::addresses(text)));
    }
    for route in objects.iter().filter(|object| kind(object) == "HTTPRoute") {
        let rules = route["spec"]["rules"].as_array().into_iter().flatten();
        named.extend(rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten()).map(|backend| {
            Address { service: name_of(backend), namespace: NAMESPACE.to_owned(), port: backend["port"].as_u64() }
        }));
    }
    outcome.expect(named.len() >= 8, || format!("flux: only {} addresses", named.len()));
    for address in &named {
        let answered = all.iter().any(|release| release.answers(address));
        outcome.expect(answered, || format!("flux: no release has {address:?}"));
    }
}

fn name_of(backend: &Value) -> String {
    text(backend, "/name").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn puts_values_in_as_flux_does() {
        let values = json!({"mimir": "m:80"});
        assert_eq!(substituted("a ${mimir} $${S3} $x", &values).unwrap(), "a m:80 ${S3} $x");
        assert!(substituted("${none}", &values).is_err());
    }
}
