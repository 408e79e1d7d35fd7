//! deploy/kustomize: the agent's chart as plain manifests, an object's kind its file.

use super::generate::Generated;
use crate::places;
use crate::setup::go_tools;
use crate::shell::{command, output};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

const HEADER: &str = "# Rendered from deploy/charts/profiler-agent by `cargo xtask deploy`; do not edit.\n";
/// Where the plain agent sends: what kalypso-pyroscope is called.
const ENDPOINT: &str = "agent.endpoints={http://pyroscope.pyroscope.svc.cluster.local:4040}";
/// Lines that say something of Helm, not of the object.
const OF_HELM: &[&str] = &["# Source", "helm.sh/chart:", "app.kubernetes.io/managed-by:", "checksum/"];
const PROFILES: &[&str] = &["dev", "staging", "production"];

/// The documents of a chart, by their kind.
type Documents = BTreeMap<String, Vec<String>>;

/// All of its files.
pub(super) fn files() -> Result<Vec<Generated>> {
    let root = places::workspace().join("deploy/kustomize");
    let mut base = rendered(&["namespace.create=true", ENDPOINT], None)?;
    let mut files = vec![("base/profiler.toml".to_owned(), settings(&base)?)];
    base.remove("ConfigMap");
    for (kind, documents) in &base {
        files.push((format!("base/{}.yaml", kind.to_lowercase()), documents.join("---\n")));
    }
    for profile in PROFILES {
        let values = places::workspace().join(format!("deploy/charts/profiler-agent/values-{profile}.yaml"));
        let documents = rendered(&[ENDPOINT], Some(values))?;
        files.push((format!("overlays/{profile}/profiler.toml"), settings(&documents)?));
    }
    let on = ["serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboards.enabled=true"];
    let monitoring = rendered(&[&[ENDPOINT], &on[..]].concat(), None)?;
    for (kind, file) in
        [("ServiceMonitor", "servicemonitor"), ("PrometheusRule", "prometheusrule"), ("ConfigMap", "dashboards")]
    {
        let documents = monitoring.get(kind).with_context(|| format!("the agent's chart has no {kind}"))?;
        let documents: Vec<&str> =
            documents.iter().map(String::as_str).filter(|all| !all.contains("profiler.toml: |")).collect();
        files.push((format!("components/monitoring/{file}.yaml"), documents.join("---\n")));
    }
    Ok(files
        .into_iter()
        .map(|(path, text)| Generated { path: root.join(path), text: format!("{HEADER}{text}") })
        .collect())
}

/// What the chart makes, without what Helm says of itself and without tests.
fn rendered(set: &[&str], values: Option<PathBuf>) -> Result<Documents> {
    let mut helm = command(go_tools::install(go_tools::HELM)?, ["template", "profiler-agent"]);
    helm.arg(places::workspace().join("deploy/charts/profiler-agent")).args(["--namespace", "profiler"]);
    for value in set {
        helm.args(["--set", value]);
    }
    if let Some(values) = values {
        helm.arg("--values").arg(values);
    }
    Ok(documents(&output(helm.env("KUBECONFIG", "/dev/null"))?))
}

fn documents(yaml: &str) -> Documents {
    let mut all = Documents::new();
    for document in format!("\n{yaml}").split("\n---\n").filter(|document| !document.contains("helm.sh/hook")) {
        let lines = document.lines().filter(|line| !OF_HELM.iter().any(|start| line.trim_start().starts_with(start)));
        let lines: Vec<&str> = lines.skip_while(|line| line.is_empty()).collect();
        if let Some(kind) = lines.iter().find_map(|line| line.strip_prefix("kind: ")) {
            all.entry(kind.to_owned()).or_default().push(lines.join("\n") + "\n");
        }
    }
    all
}

/// The agent's file, as it stands in the ConfigMap.
fn settings(documents: &Documents) -> Result<String> {
    let mut maps = documents.get("ConfigMap").into_iter().flatten();
    let text = maps.find_map(|map| map.split_once("  profiler.toml: |\n")).context("no profiler.toml")?.1;
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_what_is_helms() {
        let yaml = "---\n# Source: a\nkind: Pod\nmetadata:\n  labels:\n    helm.sh/chart: x\n    a: b\n---\nkind: Pod\n# helm.sh/hook\n";
        let expected =
            Documents::from([("Pod".to_owned(), vec!["kind: Pod\nmetadata:\n  labels:\n    a: b\n".to_owned()])]);
        assert_eq!(documents(yaml), expected);
    }
}
