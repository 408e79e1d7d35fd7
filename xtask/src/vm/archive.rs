//! Suites and architectures of Debian that this host is not configured for, through apt with a configuration and lists
//! of their own in the cache. The mirrors are those of the host's own sources.

use super::kernels::Architecture;
use crate::shell::{self, command, output};
use crate::{places, setup::debian};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Keys of all suites, where the host has them as a file.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One configured source of Debian.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    mirror: String,
    suite: String,
    is_security: bool,
}

/// Package lists of their own.
pub(crate) struct Archive {
    folder: PathBuf,
    architecture: String,
}

impl Archive {
    /// A suite of the host's mirror.
    pub(crate) fn of_suite(suite: &str, architecture: &str) -> Result<Self> {
        let sources = sources()?;
        let source =
            sources.iter().find(|source| !source.is_security).context("no mirror of Debian in apt's sources")?;
        let source = Source { suite: suite.to_owned(), ..source.clone() };
        Self::open(suite, &[source], architecture)
    }

    /// What the host is configured for, of another architecture.
    pub(crate) fn of_host(architecture: &str) -> Result<Self> {
        Self::open("host", &sources()?, architecture)
    }

    /// What the host is configured for, and its backports.
    pub(crate) fn of_host_with_backports() -> Result<Self> {
        let mut sources = sources()?;
        let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = format!("{}-backports", codename.context("no codename in /etc/os-release")?);
        let main = sources.iter().find(|source| !source.is_security).context("no mirror of Debian in apt's sources")?;
        sources.push(Source { suite, ..main.clone() });
        Self::open("backports", &sources, Architecture::of_host().of_debian())
    }

    fn open(name: &str, sources: &[Source], architecture: &str) -> Result<Self> {
        let folder = places::cache()?.join("vm").join(format!("apt-{name}-{architecture}"));
        let archive = Self { folder, architecture: architecture.to_owned() };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(archive.folder.join(part))?;
        }
        // Nothing is installed here.
        places::write(&archive.folder.join("status"), b"")?;
        let keyring = if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
        let line =
            |source: &Source| format!("deb [arch={architecture}{keyring}] {} {} main\n", source.mirror, source.suite);
        let text: String = sources.iter().map(line).collect();
        places::write(&archive.folder.join("sources.list"), text.as_bytes())?;
        output(archive.apt("apt-get").args(["update", "--quiet", "--error-on=any"]))
            .with_context(|| format!("Debian's suite cannot be reached:\n{text}"))?;
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Command {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut apt = command(program, [""; 0]);
        for option in [
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", path("lists")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures={}", self.architecture),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // apt's own sandbox user may not write below the home folder of root.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt.env("LC_ALL", "C");
        apt
    }

    /// Names of packages that begin so.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Installs the packages on the host, the newest of all sources, whatever its own sources are.
    pub(crate) fn install(&self, packages: &[&str]) -> Result<()> {
        let suites = fs::read_to_string(self.folder.join("sources.list"))?;
        let newest = suites.lines().last().and_then(|line| line.split(' ').rev().nth(1)).context("no sources")?;
        let mut apt = self.apt("apt-get");
        apt.args(["-o", "Dir::State::status=/var/lib/dpkg/status", "install", "--yes", "--quiet"]);
        apt.args(["--no-install-recommends", "--target-release", newest]).args(packages);
        output(apt.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
    }

    /// Unpacks the packages, without what they depend on, below `root`.
    pub(crate) fn unpack(&self, packages: &[&str], root: &Path) -> Result<()> {
        let downloads = root.with_extension("downloads");
        fs::create_dir_all(&downloads)?;
        fs::create_dir_all(root)?;
        output(self.apt("apt-get").args(["download", "--quiet"]).args(packages).current_dir(&downloads))?;
        debian::extract(&downloads, root)?;
        Ok(fs::remove_dir_all(downloads)?)
    }
}

/// Debian's sources that this host is configured for.
fn sources() -> Result<Vec<Source>> {
    if !shell::has("apt-get") {
        bail!("kernels come as Debian packages: run this on Debian 12 or newer, or in its container");
    }
    let list = || {
        let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)";
        let text = output(&mut command("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]))?;
        Ok::<_, anyhow::Error>(parse(&text))
    };
    match list()? {
        found if found.is_empty() => {
            debian::update()?;
            list()
        }
        found => Ok(found),
    }
}

/// Lines of `apt-get indextargets`; the origin is known once the lists are there.
fn parse(text: &str) -> Vec<Source> {
    let source = |line: &str| match line.split('|').collect::<Vec<_>>()[..] {
        ["Debian", label, "main", mirror, suite] => {
            Some(Source { mirror: mirror.to_owned(), suite: suite.to_owned(), is_security: label == "Debian-Security" })
        }
        _ => None,
    };
    text.lines().filter_map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_debian_among_the_sources() {
        let text = "\
. Other|. Other|main|http://other.example/|nodistro
Debian|Debian|main|http://mirror.example/debian/|bookworm
Debian|Debian|contrib|http://mirror.example/debian/|bookworm
Debian|Debian-Security|main|http://mirror.example/security/|bookworm-security
";
        let source = |mirror: &str, suite: &str, is_security| Source {
            mirror: mirror.to_owned(),
            suite: suite.to_owned(),
            is_security,
        };
        let wanted = [
            source("http://mirror.example/debian/", "bookworm", false),
            source("http://mirror.example/security/", "bookworm-security", true),
        ];
        assert_eq!(parse(text), wanted);
    }
}
