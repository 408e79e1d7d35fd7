//! The agent's chart in every case: each file of its ci/ renders, each of ci/wrong/ is refused with the sentence that it
//! says, and older clusters get AppArmor's profile in the annotation.

use super::generate::files_of;
use super::manifest::{self, kind, name};
use super::outcome::Outcome;
use super::render::{Release, Tools};
use crate::places;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Checks all of it.
pub(super) fn verify(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let chart = places::workspace().join("deploy/charts/profiler-agent");
    for file in files_of(&chart.join("ci"), "yaml")? {
        for (kubernetes, _) in &tools.kubernetes {
            renders(tools, &chart, &file, kubernetes, outcome)?;
        }
    }
    for case in manifest::read_one(&chart.join("ci/wrong/cases.yaml"))?.as_array().context("no cases")? {
        refused(tools, &chart, case, outcome)?;
    }
    before_1_30(tools, outcome)
}

fn renders(tools: &Tools, chart: &Path, file: &Path, kubernetes: &str, outcome: &mut Outcome) -> Result<()> {
    let what = format!("{} on Kubernetes {kubernetes}", super::shown(file));
    let files = [file.to_owned()];
    let release = Release { name: "profiler", chart, namespace: "profiler", files: &files, set: &[] };
    outcome.check(&what, tools.lint(&release, kubernetes));
    let yaml = match tools.template(&release, kubernetes) {
        Ok(yaml) => yaml,
        Err(error) => {
            outcome.check(&what, Err(error));
            return Ok(());
        }
    };
    match tools.conforms(&yaml, kubernetes) {
        Ok(count) => outcome.rendered(&what, count),
        Err(error) => outcome.check(&what, Err(error)),
    }
    for object in manifest::documents(&yaml)?.iter().filter(|object| ["DaemonSet", "Pod"].contains(&kind(object))) {
        outcome.expect(is_confined(object), || format!("{what}: {} {} has more rights", kind(object), name(object)));
    }
    Ok(())
}

/// Privileged, or nothing but capabilities that are named; never with a root that can be written to.
fn is_confined(object: &Value) -> bool {
    let pod = object.pointer("/spec/template/spec").unwrap_or(&object["spec"]);
    let context = &pod["containers"][0]["securityContext"];
    let is_least = context["allowPrivilegeEscalation"] == false && context["capabilities"]["drop"][0] == "ALL";
    context["readOnlyRootFilesystem"] == true && (context["privileged"] == true || is_least)
}

fn refused(tools: &Tools, chart: &Path, case: &Value, outcome: &mut Outcome) -> Result<()> {
    let path = tools.folder("wrong.json");
    std::fs::write(&path, case["values"].to_string())?;
    let says = manifest::text(case, "/says");
    let files: [PathBuf; 1] = [path];
    let release = Release { name: "profiler", chart, namespace: "profiler", files: &files, set: &[] };
    let answer = tools.template(&release, tools.newest());
    outcome.expect(!says.is_empty() && answer.as_ref().is_err_and(|error| format!("{error:#}").contains(says)), || {
        format!("values {} are not refused with {says:?} but with {answer:?}", case["values"])
    });
    Ok(())
}

/// The overlays on clusters that have AppArmor's profile in an annotation.
fn before_1_30(tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let kustomize = places::workspace().join("deploy/kustomize");
    let folder = tools.folder("before-1.30");
    std::fs::create_dir_all(&folder)?;
    let back = "../".repeat(folder.components().count() - 1);
    let at = |path: &str| format!("{back}{}", kustomize.join(path).display().to_string().trim_start_matches('/'));
    let (oldest, _) = tools.kubernetes.first().context("no schemas")?;
    for overlay in ["base", "overlays/dev", "overlays/staging", "overlays/production"] {
        let text = format!("resources: [{}]\ncomponents: [{}]\n", at(overlay), at("components/before-1.30"));
        std::fs::write(folder.join("kustomization.yaml"), text)?;
        let what = format!("kustomize/{overlay} with components/before-1.30 on Kubernetes {oldest}");
        match tools.kustomize(&folder).and_then(|yaml| tools.conforms(&yaml, oldest)) {
            Ok(count) => outcome.rendered(&what, count),
            Err(error) => outcome.check(&what, Err(error)),
        }
    }
    Ok(())
}
