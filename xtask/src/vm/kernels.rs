//! The kernels that are booted: Debian's, the newest of a series in a suite, unpacked and never installed.
//!
//! What was fetched once stays in the cache; an empty cache brings newer ones.

use super::archive::Archive;
use crate::{places, shell};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    pub(crate) fn of_host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// As Rust and GNU call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian calls it.
    pub(crate) fn of_debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

/// A row of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// First numbers of the version.
    pub(crate) series: &'static str,
    pub(crate) architecture: Architecture,
    /// Debian's suite that has it.
    suite: &'static str,
    /// Booted in the short form.
    pub(crate) short: bool,
}

const fn kernel(series: &'static str, architecture: Architecture, suite: &'static str, short: bool) -> Kernel {
    Kernel { series, architecture, suite, short }
}

/// The matrix. The suites of the long-term series have one series each; backports of the newest have all since.
///
/// The short form has the oldest and the newest, and of the other architecture the oldest: it lacks most of what programs
/// may ask of a kernel.
pub(crate) const KERNELS: &[Kernel] = &[
    kernel("5.10", Architecture::X86_64, "bullseye", true),
    kernel("6.1", Architecture::X86_64, "bookworm", false),
    kernel("6.12", Architecture::X86_64, "trixie", false),
    kernel("7", Architecture::X86_64, "trixie-backports", true),
    kernel("5.10", Architecture::Aarch64, "bullseye", true),
    kernel("6.1", Architecture::Aarch64, "bookworm", false),
    kernel("6.12", Architecture::Aarch64, "trixie", false),
];

impl Kernel {
    /// `6.1-aarch64`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.series, self.architecture.name())
    }

    /// Whether a word of the command line means it: its name, its series or its architecture.
    pub(crate) fn is_meant(&self, word: &str) -> bool {
        word == self.name() || word == self.series || word == self.architecture.name()
    }

    /// The bootable file, fetched unless it is there.
    pub(crate) fn image(&self) -> Result<PathBuf> {
        let folder = places::cache()?.join("vm").join(format!("kernel-{}", self.name()));
        places::fill(&folder, |partial| self.fetch(partial))?;
        Ok(folder.join("vmlinuz"))
    }

    fn fetch(&self, into: &Path) -> Result<()> {
        let archive = Archive::of_suite(self.suite, self.architecture.of_debian())?;
        let names = archive.names("linux-")?;
        let ending = format!("-cloud-{}", self.architecture.of_debian());
        let package = newest(&names, self.series, &ending)
            .with_context(|| format!("no kernel {} in Debian's suite {}", self.series, self.suite))?;
        shell::step(&format!("fetching {package} of {}", self.suite));
        let root = into.join("root");
        archive.unpack(&[package], &root)?;
        let image = find(&root, "vmlinuz")?.with_context(|| format!("no vmlinuz in {package}"))?;
        fs::rename(image, into.join("vmlinuz"))?;
        Ok(fs::remove_dir_all(root)?)
    }
}

/// The package with the highest version that holds a kernel: from 6.19 on `linux-binary-…`, `linux-image-…` before.
fn newest<'a>(names: &'a [String], series: &str, ending: &str) -> Option<&'a str> {
    let version = |name: &'a str| {
        let version = name.strip_prefix("linux-binary-").or_else(|| name.strip_prefix("linux-image-"))?;
        let version = version.strip_suffix(ending)?;
        let numbers: Vec<u32> =
            version.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok()).collect();
        let wanted: Vec<u32> = series.split('.').filter_map(|part| part.parse().ok()).collect();
        numbers.starts_with(&wanted).then_some((numbers, name.starts_with("linux-binary-")))
    };
    names.iter().filter_map(|name| Some((version(name)?, name))).max().map(|(_, name)| name.as_str())
}

/// The first file below a folder whose name begins so.
fn find(folder: &Path, prefix: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), prefix)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// The kernels that the words mean; without words those of the form that is asked for.
pub(crate) fn chosen(words: &[String], short: bool) -> Result<Vec<Kernel>> {
    if let Some(word) = words.iter().find(|word| !KERNELS.iter().any(|kernel| kernel.is_meant(word))) {
        let names: Vec<String> = KERNELS.iter().map(Kernel::name).collect();
        bail!("no kernel {word:?}; there are {}", names.join(", "));
    }
    let wanted = |kernel: &&Kernel| match words {
        [] => kernel.short || !short,
        words => words.iter().any(|word| kernel.is_meant(word)),
    };
    Ok(KERNELS.iter().filter(wanted).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(names: &[&str], series: &str) -> Option<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        newest(&names, series, "-cloud-amd64").map(str::to_owned)
    }

    #[test]
    fn takes_the_newest_kernel_of_a_series() {
        let names =
            ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64", "linux-image-6.12.1-cloud-amd64"];
        assert_eq!(newest_of(&names, "6.1").as_deref(), Some("linux-image-6.1.0-50-cloud-amd64"));
        assert_eq!(newest_of(&names, "5.10"), None);
    }

    #[test]
    fn takes_the_package_that_holds_the_kernel() {
        let names = [
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64-unsigned",
            "linux-image-7.3.4+deb13-cloud-amd64-dbg",
            "linux-image-7.3.4+deb13-cloud-arm64",
        ];
        assert_eq!(newest_of(&names, "7").as_deref(), Some("linux-binary-7.3.4+deb13-cloud-amd64"));
    }

    #[test]
    fn words_name_kernels_series_and_architectures() {
        let names = |words: &[&str], short| -> Vec<String> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            chosen(&words, short).unwrap().iter().map(Kernel::name).collect()
        };
        assert_eq!(names(&["6.1"], false), ["6.1-x86_64", "6.1-aarch64"]);
        assert_eq!(names(&["5.10-aarch64", "7"], true), ["7-x86_64", "5.10-aarch64"]);
        assert_eq!(names(&[], false).len(), KERNELS.len());
        assert_eq!(names(&[], true), ["5.10-x86_64", "7-x86_64", "5.10-aarch64"]);
        assert!(chosen(&["4.19".to_owned()], false).is_err());
    }
}
