//! Helm, kustomize and kubeconform, run without a cluster and without touching anyone's configuration.

use super::manifest;
use super::schemas;
use crate::places;
use crate::setup::go_tools;
use crate::shell::{command, output};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The programs, the schemas of each Kubernetes, and a folder that ends with them.
pub(super) struct Tools {
    pub(super) helm: PathBuf,
    pub(super) kubeconform: PathBuf,
    pub(super) kustomize: PathBuf,
    pub(super) promtool: PathBuf,
    pub(super) lua: PathBuf,
    /// Version and folder.
    pub(super) kubernetes: Vec<(&'static str, PathBuf)>,
    pub(super) work: tempfile::TempDir,
}

/// A release: its name, chart, namespace, files and single values.
pub(super) struct Release<'a> {
    pub(super) name: &'a str,
    pub(super) chart: &'a Path,
    pub(super) namespace: &'a str,
    pub(super) files: &'a [PathBuf],
    pub(super) set: &'a [&'a str],
}

impl Tools {
    /// Builds and makes what is not there yet.
    pub(super) fn install() -> Result<Self> {
        let [helm, kubeconform, kustomize, promtool, lua] =
            [go_tools::HELM, go_tools::KUBECONFORM, go_tools::KUSTOMIZE, go_tools::PROMTOOL, go_tools::LUA]
                .map(go_tools::install);
        let kubernetes = schemas::KUBERNETES
            .iter()
            .map(|(version, module)| Ok((*version, schemas::install(version, module)?)))
            .collect::<Result<Vec<_>>>()?;
        let work = tempfile::tempdir_in(places::cache()?)?;
        let (helm, kubeconform, kustomize) = (helm?, kubeconform?, kustomize?);
        Ok(Self { helm, kubeconform, kustomize, promtool: promtool?, lua: lua?, kubernetes, work })
    }

    /// The newest Kubernetes.
    pub(super) fn newest(&self) -> &'static str {
        self.kubernetes.last().map_or("", |(version, _)| version)
    }

    fn helm(&self, verb: &[&str], release: &Release<'_>, kubernetes: &str) -> Command {
        let mut helm = command(&self.helm, verb);
        helm.arg(release.chart).args(["--namespace", release.namespace, "--kube-version", kubernetes]);
        for file in release.files {
            helm.arg("--values").arg(file);
        }
        for value in release.set {
            helm.args(["--set", value]);
        }
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.work.path().join("helm"));
        }
        helm.env("KUBECONFIG", "/dev/null");
        helm
    }

    /// What the release would be made of.
    pub(super) fn template(&self, release: &Release<'_>, kubernetes: &str) -> Result<String> {
        output(self.helm(&["template", "--include-crds", release.name], release, kubernetes).stdin(Stdio::null()))
    }

    /// `helm lint`.
    pub(super) fn lint(&self, release: &Release<'_>, kubernetes: &str) -> Result<()> {
        let mut helm = self.helm(&["lint", "--quiet"], release, kubernetes);
        let result = helm.output().context("cannot start helm")?;
        if !result.status.success() {
            bail!("helm lint: {}", String::from_utf8_lossy(&result.stdout).trim());
        }
        Ok(())
    }

    /// Every object against the schemas of that Kubernetes; returns how many.
    pub(super) fn conforms(&self, yaml: &str, kubernetes: &str) -> Result<usize> {
        let folder = self.kubernetes.iter().find(|(version, _)| *version == kubernetes).context("no schemas")?;
        let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.1.display());
        let path = self.work.path().join("objects.yaml");
        fs::write(&path, yaml)?;
        let args = ["-strict", "-output", "json", "-summary", "-skip", "CustomResourceDefinition", "-schema-location"];
        let mut kubeconform = command(&self.kubeconform, args);
        let result = kubeconform.arg(location).arg(&path).output().context("cannot start kubeconform")?;
        let answer: Value = serde_json::from_slice(&result.stdout)
            .with_context(|| String::from_utf8_lossy(&result.stderr).into_owned())?;
        let wrong: Vec<String> = answer["resources"].as_array().into_iter().flatten().map(said).collect();
        if !wrong.is_empty() {
            bail!("{}", wrong.join("; "));
        }
        let count = |key: &str| answer["summary"][key].as_u64().unwrap_or_default() as usize;
        Ok(count("valid") + count("skipped"))
    }

    /// `kustomize build`.
    pub(super) fn kustomize(&self, folder: &Path) -> Result<String> {
        output(command(&self.kustomize, ["build"]).arg(folder))
    }

    /// A folder below the one that ends with these tools.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }
}

fn said(resource: &Value) -> String {
    let [kind, name, text] = ["/kind", "/name", "/msg"].map(|pointer| manifest::text(resource, pointer));
    format!("{kind} {name}: {text}")
}
