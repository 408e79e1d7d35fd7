//! Go for the Pyroscope server of the tests: the host's own, else Debian's, which fetches the version that is needed.
//!
//! Go 1.21 and later fetch the tool chain that a module asks for; Debian 12 has an older one, so we ask it to fetch that
//! tool chain as the module it is distributed as, and check it against the checksum database in doing so.

use super::debian;
use crate::places;
use crate::shell::{self, command, output, step};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The version that the server's module asks for.
const VERSION: (u32, u32, u32) = (1, 25, 7);

/// The folder of a `go` that is new enough.
pub(crate) fn install() -> Result<PathBuf> {
    if let Some(folder) = on_path() {
        return Ok(folder);
    }
    let _lock = places::lock("go")?;
    let name = format!("go{}.{}.{}", VERSION.0, VERSION.1, VERSION.2);
    let folder = places::cache()?.join(&name);
    places::fill(&folder, |partial| fetch(&name, partial))?;
    Ok(folder.join("bin"))
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folder = std::env::split_paths(&path).find(|folder| folder.join("go").is_file())?;
    let text = output(&mut command(folder.join("go"), ["env", "GOVERSION"])).ok()?;
    (version(text.trim())? >= VERSION).then_some(folder)
}

/// "go1.26.8" as numbers; "go1.26" has no third.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

fn fetch(name: &str, into: &Path) -> Result<()> {
    step(&format!("fetching {name} through Debian's Go (about 130 MB)"));
    // "2:1.19~1" and "2:1.24~2" are the packages golang-1.19-go and golang-1.24-go.
    let candidate = debian::candidate("golang-go")?;
    let series = candidate.rsplit(':').next().and_then(|rest| rest.split('~').next()).context("no version of Go")?;
    let old = into.with_extension("old");
    let packages = ["go", "src"].map(|part| format!("golang-{series}-{part}"));
    debian::unpack(&packages, &old.join("downloads"), &old.join("root"))?;
    link_sources(&old.join("root"), series)?;
    let root = old.join(format!("root/usr/lib/go-{series}"));
    let modules = old.join("modules");
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let module = format!("golang.org/toolchain@v0.0.1-{name}.linux-{architecture}");
    let mut go = command(root.join("bin/go"), ["mod", "download", "-modcacherw", &module]);
    go.current_dir(&old).env("GOROOT", &root).env("GOTOOLCHAIN", "local").env("GOMODCACHE", &modules);
    output(go.env("GOFLAGS", "").env("GOPATH", old.join("path")))?;
    fs::remove_dir(into)?;
    fs::rename(modules.join(&module), into)?;
    make_executable(into)?;
    Ok(fs::remove_dir_all(old)?)
}

/// Debian links the library and the tools' headers to absolute places; here they lie below `root`.
fn link_sources(root: &Path, series: &str) -> Result<()> {
    let folder = root.join(format!("usr/lib/go-{series}"));
    for entry in fs::read_dir(&folder)? {
        let link = entry?.path();
        if link.is_symlink() && !link.exists() {
            let target = root.join(format!("usr/share/go-{series}")).join(link.file_name().context("no name")?);
            fs::remove_file(&link)?;
            std::os::unix::fs::symlink(target, &link)?;
        }
    }
    Ok(())
}

/// Modules carry no permissions.
fn make_executable(go: &Path) -> Result<()> {
    let tools = fs::read_dir(go.join("pkg/tool"))?.next().context("no tools")??.path();
    for folder in [go.join("bin"), tools] {
        for entry in fs::read_dir(&folder)? {
            fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// `PATH` with this folder first.
pub(crate) fn path_with(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).with_context(|| format!("{} cannot stand in PATH", folder.display()))
}

/// Says which one it is.
pub(crate) fn describe(folder: &Path) -> Result<String> {
    Ok(shell::output(&mut command(folder.join("go"), ["version"]))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_by_number() {
        assert_eq!(version("go1.26.8"), Some((1, 26, 8)));
        assert_eq!(version("go1.26"), Some((1, 26, 0)));
        assert!(version("go1.9.1") < Some(VERSION));
        assert_eq!(version("devel"), None);
    }
}
