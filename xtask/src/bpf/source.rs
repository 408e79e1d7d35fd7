//! What an object is made of: a hash over everything that decides its bytes, and the tools' versions.

use crate::places;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Compiler flags that decide the bytes.
pub(crate) const FLAGS: &[&str] = &["-Clink-arg=--btf", "-Cdebuginfo=2"];
/// Folders whose files are all sources.
const FOLDERS: &[&str] = &["profiler-ebpf", "profiler-common"];
/// Tables of the workspace's Cargo.toml that reach the compiler.
const TABLES: &[&str] = &["[workspace.package]", "[profile.bpf]"];
/// Locked packages that end up in the object.
const PACKAGES: &[&str] = &["aya-ebpf", "aya-log-ebpf", "aya-log-common"];

/// The line in an object's section.
pub(crate) struct Stamp {
    /// [`hash`] of the sources.
    pub(crate) sources: String,
    /// Versions of compiler and linker.
    pub(crate) tools: String,
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{} {}", self.sources, self.tools)
    }
}

impl Stamp {
    /// Reads what `to_string` wrote.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let (sources, tools) = line
            .strip_prefix("sha256:")
            .and_then(|rest| rest.split_once(' '))
            .with_context(|| format!("unexpected stamp {line:?}"))?;
        Ok(Self { sources: sources.to_owned(), tools: tools.to_owned() })
    }
}

/// SHA-256 in hex over names and contents, in the order of the names.
pub(crate) fn hash() -> Result<String> {
    let top = places::workspace();
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    for folder in FOLDERS {
        for path in files(&top.join(folder))? {
            let name = path.strip_prefix(&top)?.display().to_string();
            parts.push((name, fs::read(&path)?));
        }
    }
    let manifest = fs::read_to_string(top.join("Cargo.toml"))?;
    parts.push(("Cargo.toml".to_owned(), tables(&manifest).into_bytes()));
    let lock = fs::read_to_string(top.join("Cargo.lock"))?;
    parts.push(("Cargo.lock".to_owned(), locked(&lock).into_bytes()));
    parts.push(("flags".to_owned(), FLAGS.join(" ").into_bytes()));
    parts.sort();
    let mut hasher = Sha256::new();
    for (name, content) in parts {
        hasher.update(format!("{name}\n{}\n", content.len()));
        hasher.update(&content);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The lines of [`TABLES`] without comments.
fn tables(manifest: &str) -> String {
    let mut wanted = false;
    let mut text = String::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            wanted = TABLES.contains(&line);
        }
        if wanted {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Name, version and checksum of [`PACKAGES`].
fn locked(lock: &str) -> String {
    let wanted = |stanza: &&str| {
        let name = stanza.lines().find_map(|line| line.strip_prefix("name = "));
        name.is_some_and(|name| PACKAGES.iter().any(|package| name.trim_matches('"').starts_with(package)))
    };
    lock.split("[[package]]\n").filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_reaches_the_compiler() {
        let manifest =
            "[workspace]\nmembers = []\n[profile.bpf]\n# why\nopt-level = 3\n[profile.release]\nlto = true\n";
        assert_eq!(tables(manifest), "[profile.bpf]\nopt-level = 3\n");
        let lock = "[[package]]\nname = \"aya\"\n\n[[package]]\nname = \"aya-ebpf-cty\"\nversion = \"1\"\n";
        assert_eq!(locked(lock), "name = \"aya-ebpf-cty\"\nversion = \"1\"\n");
    }

    #[test]
    fn stamp_survives_a_round_trip() {
        let stamp = Stamp { sources: "ab".to_owned(), tools: "rustc 1.96.0; bpf-linker 0.13.0".to_owned() };
        let read = Stamp::parse(&stamp.to_string()).unwrap();
        assert_eq!((read.sources, read.tools), (stamp.sources, stamp.tools));
    }
}
