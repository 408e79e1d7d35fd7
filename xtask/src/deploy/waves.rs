//! That no wave begins before the one below is healthy: with Argo CD by the waves and by what it takes for healthy, with an
//! ApplicationSet by its steps, with install.sh by running it.

use super::argocd;
use super::manifest::{self, name, text};
use super::outcome::Outcome;
use super::render::Tools;
use super::stack::{RELEASES, Stack};
use crate::places;
use crate::shell::command;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Checks all of it.
pub(super) fn verify(stack: &Stack, tools: &Tools, outcome: &mut Outcome) -> Result<()> {
    let wanted: BTreeMap<String, u64> = RELEASES.iter().map(|(name, _, wave)| ((*name).to_owned(), *wave)).collect();
    let found = of_applications(tools)?;
    outcome.expect(found == wanted, || format!("Applications begin in the waves {found:?}"));
    let steps = of_set()?;
    outcome.expect(steps == wanted, || format!("the ApplicationSet's steps are {steps:?}"));
    for (from, to) in &stack.links {
        let is_before = wanted.get(to) < wanted.get(from) || (wanted.get(to) == wanted.get(from) && is_soft(from, to));
        outcome.expect(is_before, || format!("{from} begins no later than {to}, which it needs"));
    }
    for (what, application, expected) in healths() {
        let health = health(tools, &application).with_context(|| what.to_owned());
        match health {
            Ok(health) => outcome.expect(health == expected, || format!("an Application that {what} is {health}")),
            Err(error) => outcome.check(what, Err(error)),
        }
    }
    for wave in 1..=6 {
        outcome.check(&format!("install.sh with a failure in wave {wave}"), install_stops(tools, wave));
    }
    Ok(())
}

/// Tempo writes metrics to Mimir of the same wave, and tries again until it is there.
fn is_soft(from: &str, to: &str) -> bool {
    (from, to) == ("kalypso-tempo", "kalypso-mimir")
}

fn of_applications(tools: &Tools) -> Result<BTreeMap<String, u64>> {
    let objects = manifest::documents(&argocd::applications(tools, "production")?)?;
    let waves = objects.iter().map(|object| {
        let wave = text(object, "/metadata/annotations/argocd.argoproj.io~1sync-wave");
        Ok((name(object).to_owned(), wave.parse().with_context(|| format!("{} has the wave {wave:?}", name(object)))?))
    });
    waves.collect()
}

/// The step of each element, if the steps take the label's values one after the other.
fn of_set() -> Result<BTreeMap<String, u64>> {
    let set = manifest::read_one(&argocd::folder().join("applicationset.yaml"))?;
    let spec = &set["spec"];
    if text(spec, "/strategy/type") != "RollingSync" {
        bail!("the ApplicationSet has no steps");
    }
    let steps = spec["strategy"]["rollingSync"]["steps"].as_array().context("no steps")?;
    let values: Vec<&str> = steps.iter().map(|step| text(step, "/matchExpressions/0/values/0")).collect();
    let elements = spec["generators"][0]["list"]["elements"].as_array().context("no elements")?;
    let step = |element: &Value| {
        let position = values.iter().position(|value| *value == text(element, "/wave"))?;
        Some((text(element, "/name").to_owned(), position as u64 + 1))
    };
    Ok(elements.iter().filter_map(step).collect())
}

/// States of an Application, and what they must count as: a wave begins when all below are Healthy.
fn healths() -> Vec<(&'static str, Value, &'static str)> {
    let state = |sync: &str, health: &str| json!({"status": {"sync": {"status": sync}, "health": {"status": health}}});
    vec![
        ("has no status", json!({}), "Progressing"),
        ("was not compared yet", json!({"status": {"health": {"status": "Healthy"}}}), "Progressing"),
        ("is not synced", state("OutOfSync", "Healthy"), "Progressing"),
        ("lacks everything", state("OutOfSync", "Missing"), "Progressing"),
        ("failed to sync", state("OutOfSync", "Degraded"), "Degraded"),
        ("is under way", state("Synced", "Progressing"), "Progressing"),
        ("is broken", state("Synced", "Degraded"), "Degraded"),
        ("stands", state("Synced", "Healthy"), "Healthy"),
    ]
}

/// What Argo CD takes the Application for, by the script in argocd-cm.
fn health(tools: &Tools, application: &Value) -> Result<String> {
    let map = manifest::read_one(&argocd::folder().join("argocd-cm.yaml"))?;
    let script = text(&map, "/data/resource.customizations.health.argoproj.io_Application");
    if script.is_empty() {
        // Since 1.8 there is none built in, and what has none is healthy.
        return Ok("Healthy".to_owned());
    }
    let path = tools.folder("health.lua");
    fs::write(
        &path,
        format!("obj = {}\nlocal function check()\n{script}\nend\nprint(check().status)\n", lua(application)),
    )?;
    let result = command(&tools.lua, [&path]).output().context("cannot start Lua")?;
    let text = String::from_utf8_lossy(&result.stdout).trim().to_owned();
    match text.is_empty() {
        true => bail!("the health check fails: {}", String::from_utf8_lossy(&result.stderr).trim()),
        false => Ok(text),
    }
}

/// An object as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("[{key:?}] = {}", lua(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// What stands for helm and kubectl: writes down what it is asked for, and fails where it should.
const STAND_IN: &str = "#!/bin/sh
echo \"${0##*/} $*\" >> \"$CALLS\"
case \"${0##*/} $*\" in
  'helm upgrade --install '\"$FAIL\"' '*) exit 1 ;;
  *' get deployment,statefulset,daemonset '*) echo deployment.apps/x ;;
  *' get secret '*) echo present ;;
esac
";

/// install.sh, where nothing of a wave becomes ready, fails, and asked for nothing of a later one.
fn install_stops(tools: &Tools, wave: u64) -> Result<()> {
    let broken =
        RELEASES.iter().find(|(_, _, found)| *found == wave).map(|(name, _, _)| *name).context("no such wave")?;
    let (succeeded, calls) = installed(&tools.folder(&format!("wave-{wave}")), broken)?;
    if succeeded {
        bail!("it says that it succeeded");
    }
    for (later, _, _) in RELEASES.iter().filter(|(_, _, found)| *found > wave) {
        if calls.contains(&format!("upgrade --install {later} ")) {
            bail!("{later} was begun");
        }
    }
    let all = calls.lines().filter(|line| line.starts_with("helm upgrade"));
    match all.into_iter().find(|line| !line.contains(" --wait ")) {
        Some(line) => bail!("does not wait: {line}"),
        None => Ok(()),
    }
}

fn installed(folder: &Path, broken: &str) -> Result<(bool, String)> {
    fs::create_dir_all(folder)?;
    for name in ["helm", "kubectl"] {
        fs::write(folder.join(name), STAND_IN)?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
    }
    let calls = folder.join("calls");
    let path = crate::setup::go::path_with(folder)?;
    let mut install = command(places::workspace().join("deploy/install.sh"), ["--profile", "production"]);
    let result = install.env("PATH", path).env("CALLS", &calls).env("FAIL", broken).output()?;
    Ok((result.status.success(), fs::read_to_string(calls)?))
}
