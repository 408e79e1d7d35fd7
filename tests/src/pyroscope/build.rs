//! The server's binary: in the cache, by version; built when it is not there.

use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that `tests/pyroscope/go.mod` asks for.
const VERSION: &str = "1.21.1";

/// The server's binary; the first call on a machine downloads modules and builds for minutes.
///
/// # Errors
/// When there is no cache folder, no Go tool chain, or the build fails.
pub fn ensure_built() -> Result<PathBuf> {
    let cache = cache()?;
    let binary = cache.join(format!("pyroscope-{VERSION}"));
    if binary.exists() {
        return Ok(binary);
    }
    let lock = cache.join("pyroscope.lock");
    let file = File::create(&lock).with_context(|| format!("cannot open {}", lock.display()))?;
    // Held until it is dropped; another run may have built meanwhile.
    file.lock().with_context(|| format!("cannot lock {}", lock.display()))?;
    if !binary.exists() {
        build(&binary)?;
    }
    Ok(binary)
}

fn build(binary: &Path) -> Result<()> {
    eprintln!("building Pyroscope {VERSION}, which takes some minutes");
    let partial = binary.with_extension("partial");
    let version = format!("-s -w -X github.com/grafana/pyroscope/pkg/util/build.Version={VERSION}");
    let status = Command::new("go")
        .args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-tags", "netgo", "-ldflags", &version, "-o"])
        .arg(&partial)
        .arg("github.com/grafana/pyroscope/cmd/pyroscope")
        .env("CGO_ENABLED", "0")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("pyroscope"))
        .status()
        .context("cannot start go: Pyroscope is built from source, install Go 1.25.7 or later")?;
    ensure!(status.success(), "building Pyroscope {VERSION} failed: {status}");
    std::fs::rename(&partial, binary).with_context(|| format!("cannot rename to {}", binary.display()))
}

/// `${PROFILER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/profiler}`, made if missing.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("PROFILER_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("profiler")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/profiler")))
        .context("no cache folder: set PROFILER_CACHE")?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
