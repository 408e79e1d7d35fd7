//! The files of the image: the agent, whom it trusts, and what its C library and its users look for.

use super::tree::Tree;
use crate::places;
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::path::Path;

/// Names of root alone; nothing in the image looks for others.
const PASSWD: &str = "root:x:0:0:root:/:/profiler-agent\n";
const GROUP: &str = "root:x:0:\n";
/// What a static C library can do without loading a shared one.
const NSSWITCH: &str = "hosts: files dns\n";
/// Of the project.
pub(crate) const LICENSES: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "LICENSE-GPL-2.0"];
/// Characters in a line of PEM.
const PEM_WIDTH: usize = 64;

/// All of them.
pub(super) fn files(agent: &Path, sbom: &[u8]) -> Result<Tree> {
    let mut tree = Tree::default();
    let program = fs::read(agent).with_context(|| format!("cannot read {}", agent.display()))?;
    tree.file("profiler-agent", 0o755, program);
    tree.file("etc/passwd", 0o644, PASSWD);
    tree.file("etc/group", 0o644, GROUP);
    tree.file("etc/nsswitch.conf", 0o644, NSSWITCH);
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities());
    tree.folder("tmp", 0o1777);
    tree.file("usr/share/sbom/profiler-agent.cdx.json", 0o644, sbom);
    for name in LICENSES {
        let path = places::workspace().join(name);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        tree.file(&format!("usr/share/doc/profiler-agent/{name}"), 0o644, text);
    }
    Ok(tree)
}

/// The authorities that Mozilla trusts, as PEM.
fn authorities() -> String {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|certificate| pem(certificate)).collect()
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_WIDTH));
        pem += line;
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_written_in_lines() {
        let wanted =
            format!("-----BEGIN CERTIFICATE-----\n{}\n{}\n-----END CERTIFICATE-----\n", "QUFB".repeat(16), "QQ==");
        assert_eq!(pem(&[b'A'; 49]), wanted);
        assert!(authorities().matches("BEGIN CERTIFICATE").count() > 100);
    }
}
