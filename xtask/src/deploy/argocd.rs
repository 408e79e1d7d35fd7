//! deploy/argocd: valid, the projects allow what the charts make and nothing else, `repoURL` is one value.

use super::manifest::{self, group, kind, name, text};
use super::outcome::Outcome;
use super::render::{Release, Tools};
use super::stack::Stack;
use super::vendor;
use crate::places;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Kinds that live in no namespace, of those that the charts make.
const CLUSTER_KINDS: &[&str] = &[
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "PriorityClass",
];

/// Kinds that no chart here renders, and who makes them all the same.
const MADE_ELSEWHERE: &[(&str, &str)] = &[
    ("Namespace", "CreateNamespace"),
    ("Certificate", "opentelemetry-operator, which is not rendered"),
    ("Issuer", "opentelemetry-operator, which is not rendered"),
];

/// The folder.
pub(super) fn folder() -> PathBuf {
    places::workspace().join("deploy/argocd")
}

/// The Applications that the app of apps makes.
pub(super) fn applications(tools: &Tools, profile: &str) -> Result<String> {
    let profile = format!("profile={profile}");
    let chart = folder().join("apps");
    let release = Release { name: "kalypso", chart: &chart, namespace: "argocd", files: &[], set: &[&profile] };
    tools.template(&release, tools.newest())
}

/// Checks all of it.
pub(super) fn verify(stack: &Stack, tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let whole = tools.kustomize(&folder())?;
    let set = std::fs::read_to_string(folder().join("applicationset.yaml"))?;
    let (production, dev) = (applications(tools, "production")?, applications(tools, "dev")?);
    for (what, yaml) in [
        ("argocd", &whole),
        ("argocd/apps production", &production),
        ("argocd/apps dev", &dev),
        ("applicationset", &set),
    ] {
        outcome.rendered(what, tools.conforms(yaml, tools.newest()));
    }
    one_url(tools, outcome)?;
    let objects = manifest::documents(&whole)?;
    let project = objects.iter().find(|object| name(object) == "kalypso" && kind(object) == "AppProject");
    privileges(project.context("no AppProject kalypso")?, stack, outcome);
    for application in
        manifest::documents(&production)?.iter().chain(objects.iter().filter(|all| kind(all) == "Application"))
    {
        sync_policy(application, outcome);
    }
    Ok(())
}

/// Another value in repository.yaml is in every place, and the old one in none.
fn one_url(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let copy = tools.folder("argocd");
    vendor::copy(&folder(), &copy)?;
    let old = manifest::read_one(&copy.join("repository.yaml"))?;
    let old = text(&old, "/data/repoURL");
    let path = copy.join("repository.yaml");
    let edited = std::fs::read_to_string(&path)?.replace(old, "https://elsewhere.example.org/p.git");
    std::fs::write(&path, edited)?;
    let whole = tools.kustomize(&copy)?;
    outcome.expect(!whole.contains(old), || format!("{old} is still there after the edit of repository.yaml"));
    let places = whole.matches("https://elsewhere.example.org/p.git").count();
    outcome.expect(places == 3, || format!("repoURL of repository.yaml is in {places} places, not in 3"));
    Ok(())
}

type Kinds = BTreeSet<(String, String)>;

/// What the charts make is allowed, and nothing else is.
fn privileges(project: &Value, stack: &Stack, outcome: &mut Outcome) {
    let allowed = |list: &str| -> Kinds {
        let entries = project["spec"][list].as_array().into_iter().flatten();
        entries.map(|entry| (text(entry, "/group").to_owned(), text(entry, "/kind").to_owned())).collect()
    };
    let listed = [(true, allowed("clusterResourceWhitelist")), (false, allowed("namespaceResourceWhitelist"))];
    let made: Kinds = stack
        .profiles
        .values()
        .flatten()
        .flat_map(|release| &release.objects)
        .filter(|object| text(object, "/metadata/annotations/helm.sh~1hook") != "test")
        .map(|object| (group(object).to_owned(), kind(object).to_owned()))
        .collect();
    for (is_cluster, listed) in listed {
        let made: Kinds =
            made.iter().filter(|(_, kind)| CLUSTER_KINDS.contains(&kind.as_str()) == is_cluster).cloned().collect();
        for (group, kind) in made.difference(&listed) {
            outcome.expect(false, || format!("the project kalypso forbids {kind} of {group:?}, which a chart makes"));
        }
        for (group, kind) in listed.difference(&made) {
            let is_made = MADE_ELSEWHERE.iter().any(|(made, _)| made == kind);
            outcome.expect(is_made, || format!("the project kalypso allows {kind} of {group:?}, which no chart makes"));
        }
    }
    let destinations = project["spec"]["destinations"].as_array().into_iter().flatten();
    let namespaces: BTreeSet<&str> = destinations.map(|entry| text(entry, "/namespace")).collect();
    let wanted: BTreeSet<&str> = super::stack::RELEASES.iter().map(|(_, namespace, _)| *namespace).collect();
    outcome.expect(namespaces == wanted, || format!("the project kalypso has the destinations {namespaces:?}"));
}

/// Retries, prunes, heals itself, makes its namespace.
fn sync_policy(application: &Value, outcome: &mut Outcome) {
    let policy = &application["spec"]["syncPolicy"];
    let retry = serde_json::json!({"limit": 5, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"}});
    outcome.expect(policy["retry"] == retry, || format!("{} retries by {}", name(application), policy["retry"]));
    let heals = policy["automated"] == serde_json::json!({"prune": true, "selfHeal": true});
    outcome.expect(heals, || format!("{} does not prune and heal itself", name(application)));
    let options = policy["syncOptions"].as_array().into_iter().flatten();
    let makes = options.filter_map(Value::as_str).any(|option| option == "CreateNamespace=true");
    let is_root = text(application, "/spec/project") == "kalypso-apps";
    outcome.expect(makes || is_root, || format!("{} does not make its namespace", name(application)));
}
