//! The agent's chart in every case: each file of its ci/ renders, each of ci/wrong/ is refused with the sentence that it
//! says.

use super::generate::files_of;
use super::manifest::{self, kind, name};
use super::outcome::Outcome;
use super::render::{Release, Tools};
use super::stack::rendered_on;
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
    Ok(())
}

fn renders(tools: &Tools, chart: &Path, file: &Path, kubernetes: &str, outcome: &mut Outcome) -> Result<()> {
    let what = format!("{} on Kubernetes {kubernetes}", super::shown(file));
    let files = [file.to_owned()];
    let release = Release { name: "profiler", chart, namespace: "profiler", files: &files, set: &[] };
    let Some(yaml) = rendered_on(tools, &release, kubernetes, &what, outcome) else { return Ok(()) };
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
