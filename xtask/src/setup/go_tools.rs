//! Command line tools that are Go programs, built into the cache by version: helm, kubeconform, promtool, kustomize, glua,
//! compose-spec.

use super::go;
use crate::places;
use crate::shell::{self, command, step};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// A tool: its command's package, the version of its module, how it is linked.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    package: &'static str,
    version: &'static str,
    /// Of the linker, beside those that leave debug information out.
    settings: &'static str,
    tags: &'static str,
}

/// Charts see Kubernetes 1.36; a helm without these settings says 1.20.
pub(crate) const HELM: Tool = Tool {
    name: "helm",
    package: "helm.sh/helm/v3/cmd/helm",
    version: "v3.22.0",
    settings: "-X helm.sh/helm/v3/internal/version.version=v3.22.0 \
               -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36",
    tags: "",
};

/// Checks objects against schemas.
pub(crate) const KUBECONFORM: Tool = Tool {
    name: "kubeconform",
    package: "github.com/yannh/kubeconform/cmd/kubeconform",
    version: "v0.8.0",
    settings: "",
    tags: "",
};

/// Checks and tests rules and queries; without service discovery, which would be most of the build.
pub(crate) const PROMTOOL: Tool = Tool {
    name: "promtool",
    package: "github.com/prometheus/prometheus/cmd/promtool",
    version: "v0.314.0",
    settings: "",
    tags: "remove_all_sd",
};

/// Puts kustomizations together.
pub(crate) const KUSTOMIZE: Tool = Tool {
    name: "kustomize",
    package: "sigs.k8s.io/kustomize/kustomize/v5",
    version: "v5.7.1",
    settings: "",
    tags: "",
};

/// The Lua that Argo CD runs health checks with.
pub(crate) const LUA: Tool =
    Tool { name: "glua", package: "github.com/yuin/gopher-lua/cmd/glua", version: "v1.1.1", settings: "", tags: "" };

/// Reads compose files as `docker compose` does.
pub(crate) const COMPOSE: Tool = Tool {
    name: "compose-spec",
    package: "github.com/compose-spec/compose-go/v2/cmd",
    version: "v2.16.2",
    settings: "",
    tags: "",
};

/// All of them.
pub(crate) const ALL: &[Tool] = &[HELM, KUBECONFORM, PROMTOOL, KUSTOMIZE, LUA, COMPOSE];

/// Builds it unless it is there; returns the program.
pub(crate) fn install(tool: Tool) -> Result<PathBuf> {
    let folder = places::cache()?.join(format!("{}-{}", tool.name, tool.version));
    let program = folder.join(tool.name);
    if program.exists() {
        return Ok(program);
    }
    let _lock = places::lock(tool.name)?;
    places::fill(&folder, |partial| build(tool, partial))?;
    Ok(program)
}

/// Through a module of its own: `go install` refuses modules that replace others. The checksum database answers for what
/// is fetched.
fn build(tool: Tool, partial: &Path) -> Result<()> {
    step(&format!("building {} {} (up to three minutes)", tool.name, tool.version));
    let work = partial.join("build");
    std::fs::create_dir(&work)?;
    let go = |args: &[&str]| -> Result<()> {
        let mut go = command(go::install()?.join("go"), args);
        go.current_dir(&work).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "auto");
        shell::output(&mut go).map(drop)
    };
    go(&["mod", "init", "tool"])?;
    go(&["get", "-tool", &format!("{}@{}", tool.package, tool.version)])?;
    let linker = format!("-s -w {}", tool.settings);
    let program = partial.join(tool.name);
    let program = program.to_string_lossy();
    go(&["build", "-buildvcs=false", "-tags", tool.tags, "-ldflags", &linker, "-o", &program, tool.package])?;
    Ok(std::fs::remove_dir_all(&work)?)
}

/// The folder of a module's sources in Go's own cache, fetched unless it is there: `PATH@VERSION`.
pub(crate) fn module(module: &str) -> Result<PathBuf> {
    let mut go = command(go::install()?.join("go"), ["mod", "download", "-json", module]);
    // Some want a newer Go than ours, even to be looked at.
    go.current_dir(std::env::temp_dir()).env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "auto");
    let answer = shell::output(&mut go)?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    let folder = answer["Dir"].as_str().ok_or_else(|| anyhow::anyhow!("no sources of the module {module}"))?;
    Ok(PathBuf::from(folder))
}
