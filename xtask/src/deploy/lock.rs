//! Chart.lock as Helm writes it: the versions, and a digest over what Chart.yaml asks for and what it got.

use super::manifest;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A dependency of a chart, with the fields and the order that Helm's digest is over.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependency {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) version: String,
    #[serde(default)]
    pub(super) repository: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) condition: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) alias: String,
}

/// The dependencies in a Chart.yaml.
pub(super) fn dependencies(chart: &str) -> Result<Vec<Dependency>> {
    let chart = manifest::documents(chart)?.pop().unwrap_or_default();
    match chart.get("dependencies") {
        Some(list) => Ok(serde_json::from_value(list.clone())?),
        None => Ok(Vec::new()),
    }
}

/// The file for these dependencies, each of which asks for one exact version.
pub(super) fn file(asked: &[Dependency]) -> Result<String> {
    let mut text = String::from("dependencies:\n");
    for Dependency { name, repository, version, .. } in asked {
        writeln!(text, "- name: {name}\n  repository: {repository}\n  version: {version}")?;
    }
    // Helm writes when; nobody reads it, and it would not be the same twice.
    writeln!(text, "digest: {}\ngenerated: \"2026-01-01T00:00:00Z\"", digest(asked)?)?;
    Ok(text)
}

fn digest(asked: &[Dependency]) -> Result<String> {
    let locked = asked.iter().cloned();
    let locked = locked.map(|all| Dependency { condition: String::new(), alias: String::new(), ..all });
    let json = serde_json::to_string(&[asked.to_vec(), locked.collect()])?;
    // As Go writes JSON.
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let hash = Sha256::digest(json);
    Ok(hash.iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_that_of_helm() {
        // Of Helm itself, for tempo-distributed 1.61.3.
        let chart = "
dependencies:
  - name: minio
    alias: minio
    version: 4.1.0
    repository: https://charts.min.io/
    condition: minio.enabled
  - name: grafana-agent-operator
    alias: grafana-agent-operator
    version: 0.5.1
    repository: https://grafana.github.io/helm-charts
    condition: metaMonitoring.grafanaAgent.installOperator
  - name: rollout-operator
    alias: rollout_operator
    repository: https://grafana.github.io/helm-charts
    version: 0.40.0
    condition: rollout_operator.enabled
";
        let digest = digest(&dependencies(chart).unwrap()).unwrap();
        assert_eq!(digest, "sha256:fca11d5c0f53769e7944f4fc0ce727320e8ddd3c660446238580b6e6795bda87");
    }
}
