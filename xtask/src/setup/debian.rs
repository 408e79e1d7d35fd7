//! Debian packages: installed where a test needs them, or unpacked into a folder without installing.

use crate::places;
use crate::shell::{self, command, output};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Packages every Debian machine with a C compiler has, never unpacked.
const BASE: &[&str] = &["libc6", "libcrypt1", "libgcc-s1", "libstdc++6", "gcc-12-base", "debconf", "dpkg", "tar"];

/// The version that would be installed. Fetches package lists where there are none.
pub(crate) fn candidate(package: &str) -> Result<String> {
    if let Some(version) = policy(package)? {
        return Ok(version);
    }
    update()?;
    policy(package)?.with_context(|| format!("no Debian package {package} in the configured sources"))
}

fn policy(package: &str) -> Result<Option<String>> {
    let text = output(command("apt-cache", ["policy", package]).env("LC_ALL", "C"))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    Ok(version.filter(|version| *version != "(none)").map(str::to_owned))
}

/// Fetches the package lists.
pub(crate) fn update() -> Result<()> {
    shell::step("fetching Debian's package lists");
    output(&mut command("apt-get", ["update", "--quiet"])).map(drop)
}

/// The packages and the libraries they depend on, without the base system.
pub(crate) fn closure(packages: &[&str]) -> Result<Vec<String>> {
    let mut args = vec!["depends", "--recurse", "--important", "--no-breaks", "--no-conflicts", "--no-replaces"];
    args.extend(packages);
    let text = output(command("apt-cache", &args).env("LC_ALL", "C"))?;
    let libraries: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter(|name| name.starts_with("lib") && !BASE.contains(name) && !name.ends_with("-dev"))
        .map(|name| name.split(':').next().unwrap_or(name))
        .collect();
    let all = packages.iter().copied().chain(libraries);
    Ok(all.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect())
}

/// Downloads the packages into `downloads` and unpacks them below `root`.
pub(crate) fn unpack(packages: &[String], downloads: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(downloads)?;
    fs::create_dir_all(root)?;
    let mut apt = command("apt-get", ["download", "--quiet"]);
    apt.args(packages).current_dir(downloads);
    if std::fs::metadata(downloads)?.is_dir() && shell::is_root() {
        // apt's own sandbox user may not write below the home folder of root.
        apt.args(["-o", "APT::Sandbox::User=root"]);
    }
    if output(&mut apt).is_err() {
        update()?;
        output(&mut apt)?;
    }
    extract(downloads, root)
}

/// Unpacks all packages of a folder below `root`.
pub(crate) fn extract(downloads: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(downloads)? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            output(command("dpkg-deb", ["--extract"]).arg(&package).arg(root))?;
        }
    }
    Ok(())
}

/// Writes a script that starts an unpacked program with the libraries unpacked beside it: their path stays out of the
/// environment of build scripts and of the host's own linker.
pub(crate) fn write_script(path: &Path, program: &Path, libraries: &Path) -> Result<()> {
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}'\nexport LD_LIBRARY_PATH\nexec '{}' \"$@\"\n",
        libraries.display(),
        program.display()
    );
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("no folder")?)?;
    places::write(path, text.as_bytes())?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Installs the packages whose program is missing.
pub(crate) fn install(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(program, _)| !shell::has(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::has("apt-get") {
        bail!("missing here and no apt-get to install them: {}", missing.join(", "));
    }
    let mut apt = command("apt-get", ["install", "--yes", "--quiet", "--no-install-recommends"]);
    apt.args(&missing).env("DEBIAN_FRONTEND", "noninteractive");
    shell::step(&format!("installing {}", missing.join(", ")));
    if output(&mut apt).is_err() {
        update()?;
        output(&mut apt)?;
    }
    Ok(())
}
