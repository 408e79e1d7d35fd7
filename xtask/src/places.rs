//! Where things are: the workspace, its build results, and the cache that may be empty at any time.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The top of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo puts finished binaries.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// `${PROFILER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/profiler}`, made if missing.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("PROFILER_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("profiler")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/profiler")))
        .context("no cache folder: set PROFILER_CACHE")?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Holds the cache for one writer until dropped.
pub(crate) fn lock(name: &str) -> Result<File> {
    let path = cache()?.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        crate::shell::step(&format!("waiting for another run that holds {}", path.display()));
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The temporary name; all of the final one is in it, as versions have dots.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Fills a folder that is not there yet: under a temporary name, renamed when whole.
pub(crate) fn fill(folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let partial = partial(folder);
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    make(&partial)?;
    fs::rename(&partial, folder).with_context(|| format!("cannot rename to {}", folder.display()))
}

/// Writes a file under a temporary name, renamed when whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = partial(path);
    fs::write(&partial, bytes).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("cannot rename to {}", path.display()))
}
