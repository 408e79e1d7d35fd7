//! Files in memory, and the one tar archive that can be made of them: sorted, owned by root, all of the same time.

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Files and folders by path, which has no leading slash.
#[derive(Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

struct Node {
    mode: u32,
    /// None of a folder.
    content: Option<Vec<u8>>,
}

impl Tree {
    /// A folder, and those above it.
    pub(crate) fn folder(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node { mode, content: None });
    }

    /// A file, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node { mode, content: Some(content.into()) });
    }

    /// The files, sorted by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|(path, node)| Some((path.as_str(), node.content.as_deref()?)))
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.0.entry(path[..end].to_owned()).or_insert(Node { mode: 0o755, content: None });
        }
    }

    /// As a tar archive; everything in it was changed at `time` (seconds since 1970).
    pub(crate) fn tar(&self, time: u64) -> Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, node) in &self.0 {
            let mut header = tar::Header::new_ustar();
            header.set_mode(node.mode);
            header.set_mtime(time);
            header.set_uid(0);
            header.set_gid(0);
            let content = node.content.as_deref().unwrap_or_default();
            header.set_size(content.len() as u64);
            let (kind, ending) =
                if node.content.is_some() { (tar::EntryType::Regular, "") } else { (tar::EntryType::Directory, "/") };
            header.set_entry_type(kind);
            builder
                .append_data(&mut header, format!("{path}{ending}"), content)
                .with_context(|| format!("cannot archive {path}"))?;
        }
        builder.into_inner().context("cannot end the archive")
    }
}

/// Compressed, without a name or time in the header.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    // 255: of no named operating system.
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_making_does_not_matter() {
        let archive = |paths: &[&str]| {
            let mut tree = Tree::default();
            paths.iter().for_each(|path| tree.file(path, 0o644, *path));
            tree.folder("tmp", 0o1777);
            tree.tar(7).unwrap()
        };
        assert_eq!(archive(&["etc/a", "etc-b", "c"]), archive(&["c", "etc-b", "etc/a"]));
    }

    #[test]
    fn folders_go_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.file("etc/ssl/certs", 0o600, "x");
        tree.folder("tmp", 0o1777);
        let bytes = tree.tar(7).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                format!("{path} {:o} {}", header.mode().unwrap(), header.mtime().unwrap())
            })
            .collect();
        assert_eq!(entries, ["etc/ 755 7", "etc/ssl/ 755 7", "etc/ssl/certs 600 7", "tmp/ 1777 7"]);
    }

    #[test]
    fn compressed_bytes_tell_no_time() {
        assert_eq!(gzip(b"").unwrap()[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }
}
