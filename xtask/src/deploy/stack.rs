//! The eight charts of the stack and the agent's, rendered with the real charts of others, in every profile and for every
//! Kubernetes.

use super::generate::files_of;
use super::links::{self, Objects};
use super::manifest::{self, kind, name};
use super::outcome::Outcome;
use super::render::{Release, Tools};
use super::vendor::{self, Vendored};
use super::versions::Versions;
use crate::places;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Releases, their namespaces and the waves in which they begin. What Argo CD and install.sh say is compared with this.
pub(super) const RELEASES: &[(&str, &str, u64)] = &[
    ("kalypso-otel", "otel-system", 1),
    ("kalypso-istio", "istio-system", 2),
    ("kalypso-minio", "minio", 3),
    ("kalypso-mimir", "mimir", 4),
    ("kalypso-tempo", "tempo", 4),
    ("kalypso-loki", "loki", 4),
    ("kalypso-pyroscope", "pyroscope", 5),
    ("kalypso-grafana", "grafana", 6),
];

/// Who talks to whom: from, to, and the release of which that is.
const LINKS: &[(&str, &str)] = &[
    ("kalypso-mimir", "kalypso-minio"),
    ("kalypso-tempo", "kalypso-minio"),
    ("kalypso-tempo", "kalypso-mimir"),
    ("kalypso-loki", "kalypso-minio"),
    ("kalypso-pyroscope", "kalypso-minio"),
    ("kalypso-grafana", "kalypso-mimir"),
    ("kalypso-grafana", "kalypso-loki"),
    ("kalypso-grafana", "kalypso-tempo"),
    ("kalypso-grafana", "kalypso-pyroscope"),
];

/// Buckets of the stack's object storage.
const BUCKETS: &[&str] = &[
    "tempo-bucket",
    "loki-bucket",
    "mimir-bucket",
    "mimir-blocks",
    "mimir-alertmanager",
    "mimir-ruler",
    "pyroscope-data",
    "pyroscope-admin",
];

/// Passwords that stand in charts of others or in the dev profile.
const KNOWN_PASSWORDS: &[&str] =
    &["only-for-development", "console123", "supersecret", "minioadmin", "minio123", "prom-operator", "strongpassword"];

/// What the whole stack is made of, by profile.
pub(super) struct Stack {
    pub(super) profiles: BTreeMap<String, Vec<Objects>>,
    /// From one release to another.
    pub(super) links: Vec<(String, String)>,
}

/// Renders and checks all of it.
pub(super) fn verify(versions: &Versions, tools: &Tools, outcome: &mut Outcome) -> Result<Stack> {
    let mut profiles: BTreeMap<String, Vec<Objects>> = BTreeMap::new();
    for (release, namespace, _) in RELEASES {
        let chart = vendor::ours(versions, release, &tools.folder("charts"))?;
        for (dependency, why) in &chart.missing {
            outcome.not_rendered(format!("{dependency} in {release}: {why}"));
        }
        for (profile, files) in profiles_of(release)? {
            let files = [files];
            let release = Release { name: release, chart: &chart.folder, namespace, files: &files, set: &[] };
            if let Some(objects) = rendered(tools, &release, &profile, outcome)? {
                profiles.entry(profile).or_default().push(objects);
            }
        }
        switched_off(tools, &chart, release, namespace, outcome)?;
    }
    agent(tools, outcome)?;
    plain(tools, outcome)?;
    external_storage(tools, outcome)?;
    microservices(tools, outcome)?;
    for (profile, releases) in &profiles {
        links::check(profile, releases, outcome);
        one_owner(profile, releases, outcome);
    }
    let links = profiles.get("production").map(|releases| links::between(releases)).unwrap_or_default();
    for (from, to) in LINKS {
        let found = links.iter().any(|link| (&*link.0, &*link.1) == (*from, *to));
        outcome.expect(found, || format!("{from} names no service of {to}"));
    }
    buckets(&profiles, outcome);
    passwords(&profiles, outcome);
    Ok(Stack { profiles, links })
}

/// Names and files of a chart's profiles that stand alone.
fn profiles_of(chart: &str) -> Result<Vec<(String, PathBuf)>> {
    let folder = places::workspace().join("deploy/charts").join(chart);
    let files = files_of(&folder, "yaml")?.into_iter().filter_map(|path| {
        let profile = path.file_stem()?.to_str()?.strip_prefix("values-")?.to_owned();
        (profile != "microservices").then_some((profile, path))
    });
    Ok(files.collect())
}

/// Lints, renders and checks a release for every Kubernetes; what it is made of on the newest one.
fn rendered(tools: &Tools, release: &Release<'_>, profile: &str, outcome: &mut Outcome) -> Result<Option<Objects>> {
    let mut newest = None;
    for (kubernetes, _) in &tools.kubernetes {
        let what = format!("{} {profile} on Kubernetes {kubernetes}", release.name);
        let yaml = rendered_on(tools, release, kubernetes, &what, outcome);
        if let Some(yaml) = yaml.filter(|_| *kubernetes == tools.newest()) {
            newest = Some(Objects::new(release.name, release.namespace, manifest::documents(&yaml)?));
        }
    }
    Ok(newest)
}

/// Lints, renders and checks a release for one Kubernetes; none where it does not render, which is said.
pub(super) fn rendered_on(
    tools: &Tools,
    release: &Release<'_>,
    kubernetes: &str,
    what: &str,
    outcome: &mut Outcome,
) -> Option<String> {
    let yaml = match tools.template(release, kubernetes) {
        Ok(yaml) => yaml,
        Err(error) if format!("{error:#}").contains("requires kubeVersion") => {
            let why = format!("{error:#}");
            let why = why.split("Error: ").nth(1).unwrap_or(&why).lines().next().unwrap_or_default().to_owned();
            outcome.not_rendered(format!("{what}: {why}"));
            return None;
        }
        Err(error) => {
            outcome.check(what, Err(error));
            return None;
        }
    };
    outcome.check(what, tools.lint(release, kubernetes));
    outcome.rendered(what, tools.conforms(&yaml, kubernetes));
    Some(yaml)
}

/// With every part off a chart runs nothing.
fn switched_off(tools: &Tools, chart: &Vendored, name: &str, namespace: &str, outcome: &mut Outcome) -> Result<()> {
    let text = std::fs::read_to_string(chart.folder.join("Chart.yaml"))?;
    let conditions = super::lock::dependencies(&text)?.into_iter().map(|dependency| dependency.condition);
    let off: Vec<String> =
        conditions.filter(|all| !all.is_empty()).map(|condition| format!("{condition}=false")).collect();
    let off: Vec<&str> = off.iter().map(String::as_str).collect();
    let release = Release { name, chart: &chart.folder, namespace, files: &[], set: &off };
    let objects = manifest::documents(&tools.template(&release, tools.newest())?)?;
    let running =
        objects.iter().find(|object| ["Deployment", "StatefulSet", "DaemonSet", "Job"].contains(&kind(object)));
    outcome.expect(running.is_none(), || format!("{name} with every part off still has {running:?}"));
    Ok(())
}

/// The agent's chart alone.
fn agent(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let chart = places::workspace().join("deploy/charts/profiler-agent");
    let mut profiles = profiles_of("profiler-agent")?;
    profiles.push(("default".to_owned(), chart.join("values.yaml")));
    for (profile, file) in profiles {
        let files = [file];
        let release = Release { name: "profiler", chart: &chart, namespace: "profiler", files: &files, set: &[] };
        rendered(tools, &release, &profile, outcome)?;
    }
    Ok(())
}

/// The same as kustomizations; they are for Kubernetes 1.30 and newer, older ones take a component on top.
fn plain(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let root = tools.folder("kustomize");
    vendor::copy(&places::workspace().join("deploy/kustomize"), &root)?;
    let (oldest, _) = tools.kubernetes.first().context("no schemas")?;
    let mut verify = |folder: &str, what: String, kubernetes: &str| {
        let yaml = tools.kustomize(&root.join(folder));
        outcome.rendered(&what, yaml.and_then(|yaml| tools.conforms(&yaml, kubernetes)));
    };
    let with = |folder: &str, component: &str| -> Result<()> {
        let on_top = root.join("on-top");
        std::fs::create_dir_all(&on_top)?;
        let text = format!("resources: [../{folder}]\ncomponents: [../components/{component}]\n");
        Ok(std::fs::write(on_top.join("kustomization.yaml"), text)?)
    };
    for folder in ["base", "overlays/dev", "overlays/staging", "overlays/production"] {
        verify(folder, format!("kustomize/{folder} on Kubernetes {}", tools.newest()), tools.newest());
        with(folder, "before-1.30")?;
        verify("on-top", format!("kustomize/{folder} with components/before-1.30 on Kubernetes {oldest}"), oldest);
    }
    with("base", "monitoring")?;
    let what = format!("kustomize/base with components/monitoring on Kubernetes {}", tools.newest());
    verify("on-top", what, tools.newest());
    Ok(())
}

/// `storage.s3.endpoint` is in the place of MinIO everywhere.
fn external_storage(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    for name in ["kalypso-mimir", "kalypso-tempo", "kalypso-loki", "kalypso-pyroscope"] {
        let chart = tools.folder("charts").join(name);
        let set = ["storage.s3.endpoint=s3.example.com:443"];
        let release = Release { name, chart: &chart, namespace: "other", files: &[], set: &set };
        let yaml = tools.template(&release, tools.newest())?;
        let is_there = yaml.contains("S3_URL: \"https://s3.example.com:443\"");
        outcome.expect(is_there && !yaml.contains("kalypso-minio"), || format!("{name} keeps MinIO beside another S3"));
    }
    Ok(())
}

/// The values for more than one node, on top of production's.
fn microservices(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let mut all = Vec::new();
    for (name, namespace) in
        [("kalypso-minio", "minio"), ("kalypso-pyroscope", "pyroscope"), ("kalypso-grafana", "grafana")]
    {
        let folder = places::workspace().join("deploy/charts").join(name);
        let mut files = vec![folder.join("values-production.yaml"), folder.join("values-microservices.yaml")];
        files.retain(|file| file.exists());
        let chart = tools.folder("charts").join(name);
        let release = Release { name, chart: &chart, namespace, files: &files, set: &[] };
        all.extend(rendered(tools, &release, "microservices", outcome)?);
    }
    let found = links::between(&all).iter().any(|(from, to)| from == "kalypso-grafana" && to == "kalypso-pyroscope");
    outcome.expect(found, || "Grafana does not find Pyroscope's query frontend".to_owned());
    Ok(())
}

/// No definition of a custom resource is in two releases.
fn one_owner(profile: &str, releases: &[Objects], outcome: &mut Outcome) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for release in releases {
        for object in release.of_kind("CustomResourceDefinition") {
            let other = owners.insert(name(object), &release.release);
            outcome.expect(other.is_none_or(|other| other == release.release), || {
                format!("{profile}: {} is in {other:?} and in {}", name(object), release.release)
            });
        }
    }
}

/// MinIO makes the buckets, and those that the others name are among them.
fn buckets(profiles: &BTreeMap<String, Vec<Objects>>, outcome: &mut Outcome) {
    for releases in profiles.values() {
        for release in releases {
            let all = Value::from(release.objects.clone()).to_string();
            if release.release == "kalypso-minio" {
                for bucket in BUCKETS {
                    outcome.expect(all.contains(bucket), || format!("MinIO makes no bucket {bucket}"));
                }
            }
            let named = release.of_kind("ConfigMap").filter(|object| name(object) == "kalypso-s3");
            for (key, bucket) in named.filter_map(|object| object["data"].as_object()).flatten() {
                let is_known = !key.starts_with("S3_BUCKET_") || BUCKETS.iter().any(|known| bucket == known);
                outcome.expect(is_known, || format!("{} uses {bucket}, which nobody makes", release.release));
            }
        }
    }
}

/// No password that everyone knows is in production, and no Secret with one that a chart made up.
fn passwords(profiles: &BTreeMap<String, Vec<Objects>>, outcome: &mut Outcome) {
    for release in profiles.get("production").into_iter().flatten() {
        let all = Value::from(release.objects.clone()).to_string();
        for password in KNOWN_PASSWORDS {
            outcome.expect(!all.contains(password), || format!("{password} is in {} in production", release.release));
        }
        for secret in release.of_kind("Secret") {
            let keys = ["data", "stringData"].into_iter().filter_map(|part| secret[part].as_object()).flatten();
            let given =
                keys.filter(|(key, _)| key.to_lowercase().contains("pass") || key.to_lowercase().contains("secret"));
            let given: Vec<&str> = given.map(|(key, _)| key.as_str()).collect();
            outcome.expect(given.is_empty(), || {
                format!("{} has {} with {} in production", release.release, name(secret), given.join(", "))
            });
        }
    }
}
