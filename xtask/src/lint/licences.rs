//! Licences and bans over everything that cargo locked: an allow list of SPDX licences, a list of refused packages.

use crate::shell;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;

/// Licences that ask for no more than attribution.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Licences allowed for one package only.
const EXCEPTIONS: &[(&str, &str)] = &[("inferno", "CDDL-1.0"), ("libfuzzer-sys", "(MIT OR Apache-2.0) AND NCSA")];
/// Packages never wanted, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "rustls is the TLS of this project"),
    ("native-tls", "rustls is the TLS of this project"),
    ("aws-lc-sys", "ring is the cryptography of this project"),
];

/// Every violation at once.
pub(crate) fn check() -> Result<()> {
    let mut packages = locked("Cargo.toml")?;
    packages.extend(
        locked("tests/fuzz/Cargo.toml").context("run `cargo update -w --manifest-path tests/fuzz/Cargo.toml`")?,
    );
    let wrong: BTreeSet<String> = packages.iter().flat_map(violations).collect();
    if !wrong.is_empty() {
        let wrong: Vec<String> = wrong.into_iter().collect();
        bail!("{}", wrong.join("; "));
    }
    shell::step(&format!("licences of {} packages are fine", packages.len()));
    Ok(())
}

/// The packages that a manifest's lock file names.
fn locked(manifest: &str) -> Result<Vec<Value>> {
    let args = ["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest];
    let text = shell::output(&mut shell::cargo(args))?;
    let mut metadata: Value = serde_json::from_str(&text).context("cannot read cargo's metadata")?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => bail!("no packages in cargo's metadata of {manifest}"),
    }
}

fn violations(package: &Value) -> Vec<String> {
    let field = |name: &str| package[name].as_str().unwrap_or_default();
    let (name, licence) = (field("name"), field("license"));
    let mut wrong = Vec::new();
    let excepted = EXCEPTIONS.contains(&(name, licence));
    if !excepted && !Expression::new(licence).allowed() {
        wrong.push(format!("{name}: licence {licence:?} is not allowed"));
    }
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        wrong.push(format!("{name} is banned: {why}"));
    }
    if field("source").starts_with("git+") {
        wrong.push(format!("{name} comes from {}, not from a registry", field("source")));
    }
    wrong
}

/// An SPDX expression, read from the left: AND binds stronger than OR; "/" is an old way to write OR.
struct Expression {
    words: std::iter::Peekable<std::vec::IntoIter<String>>,
}

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
        Self { words: words.into_iter().peekable() }
    }

    fn allowed(mut self) -> bool {
        self.any() && self.words.next().is_none()
    }

    fn any(&mut self) -> bool {
        let mut allowed = self.all();
        while self.take("OR") {
            allowed |= self.all();
        }
        allowed
    }

    fn all(&mut self) -> bool {
        let mut allowed = self.one();
        while self.take("AND") {
            allowed &= self.one();
        }
        allowed
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let allowed = self.any();
            return self.take(")") && allowed;
        }
        let mut licence = self.words.next().unwrap_or_default();
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.words.next().unwrap_or_default());
        }
        ALLOWED.contains(&licence.as_str())
    }

    fn take(&mut self, word: &str) -> bool {
        self.words.next_if(|next| next == word).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_spdx_expressions() {
        for text in
            ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND Unicode-3.0", "MIT OR GPL-3.0 AND X"]
        {
            assert!(Expression::new(text).allowed(), "{text}");
        }
        for text in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT) OR MIT", "Apache-2.0 WITH GPL-exception"] {
            assert!(!Expression::new(text).allowed(), "{text}");
        }
    }
}
