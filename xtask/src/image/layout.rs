//! An OCI image layout (image-spec 1.1): blobs by digest, a manifest per architecture, one index over them.
//!
//! The same folder as a tar archive is what `podman load`, `ctr images import` and `docker load` take; the last, where it
//! does not know OCI layouts, by `manifest.json`.

use super::source::Source;
use super::tree::{Tree, gzip};
use crate::places;
use crate::vm::Architecture;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Where a name without a registry belongs, to container runtimes.
const DEFAULT_REGISTRY: &str = "docker.io";

/// A layout in the making.
pub(super) struct Layout {
    /// By digest in hexadecimal digits.
    blobs: BTreeMap<String, Vec<u8>>,
    /// Descriptors of the manifests.
    manifests: Vec<Value>,
    /// Of each architecture, for `manifest.json`: its Debian name, digests of config and layer.
    images: Vec<(&'static str, String, String)>,
    annotations: Value,
    created: String,
}

impl Layout {
    /// An empty one.
    pub(super) fn new(source: &Source) -> Result<Self> {
        Ok(Self {
            blobs: BTreeMap::new(),
            manifests: Vec::new(),
            images: Vec::new(),
            annotations: annotations(source)?,
            created: source.created()?,
        })
    }

    /// Adds the image of an architecture.
    pub(super) fn add(&mut self, architecture: Architecture, files: &Tree) -> Result<()> {
        let tar = files.tar(0)?;
        let layer = self.blob(LAYER, gzip(&tar)?);
        let config = json!({
            "created": self.created,
            "architecture": architecture.of_debian(),
            "os": "linux",
            "config": {
                "User": "0:0",
                "Env": ["PATH=/"],
                "Entrypoint": ["/profiler-agent"],
                "Cmd": ["run"],
                "WorkingDir": "/",
                "Labels": self.annotations,
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&tar))] },
            "history": [{ "created": self.created, "created_by": "cargo xtask image" }],
        });
        let config = self.blob(CONFIG, serde_json::to_vec(&config)?);
        self.images.push((architecture.of_debian(), path_of(&config)?, path_of(&layer)?));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            "annotations": self.annotations,
        });
        let mut manifest = self.blob(MANIFEST, serde_json::to_vec(&manifest)?);
        manifest["platform"] = json!({ "architecture": architecture.of_debian(), "os": "linux" });
        self.manifests.push(manifest);
        Ok(())
    }

    /// Keeps a blob; returns its descriptor.
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = hex(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() });
        self.blobs.insert(digest, bytes);
        descriptor
    }

    /// All files of the layout, for an image of this name and tag.
    pub(super) fn finish(mut self, name: &str, tag: &str) -> Result<Tree> {
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests, "annotations": self.annotations,
        });
        let mut index = self.blob(INDEX, serde_json::to_vec(&index)?);
        index["annotations"] = json!({
            "io.containerd.image.name": format!("{}:{tag}", qualified(name)),
            "org.opencontainers.image.ref.name": tag,
            "org.opencontainers.image.created": self.created,
        });
        let top = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [index] });
        let mut tree = Tree::default();
        tree.file("index.json", 0o644, serde_json::to_vec(&top)?);
        tree.file("manifest.json", 0o644, serde_json::to_vec(&self.of_docker(name, tag))?);
        tree.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
        for (digest, bytes) in self.blobs {
            tree.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
        }
        Ok(tree)
    }

    /// What Docker's own format says: one image, or one tag per architecture.
    fn of_docker(&self, name: &str, tag: &str) -> Value {
        let tag_of = |architecture: &str| match self.images.len() {
            1 => format!("{name}:{tag}"),
            _ => format!("{name}:{tag}-{architecture}"),
        };
        let images = self.images.iter().map(|(architecture, config, layer)| {
            json!({ "Config": config, "RepoTags": [tag_of(architecture)], "Layers": [layer] })
        });
        images.collect()
    }
}

/// Writes the layout as a folder, in the place of an older one, and as one archive.
pub(super) fn write(tree: &Tree, folder: &Path, archive: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    for (path, content) in tree.files() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    places::write(archive, &tree.tar(0)?)
}

/// Labels and annotations, by the names that the image specification gives them.
fn annotations(source: &Source) -> Result<Value> {
    let mut all = json!({
        "title": "profiler-agent",
        "description": source.description,
        "licenses": source.license,
        "version": source.version,
        "created": source.created()?,
    });
    for (key, value) in [("revision", &source.revision), ("source", &source.repository)] {
        if let Some(value) = value {
            all[key] = json!(value);
        }
    }
    let all = all.as_object().context("no object")?;
    Ok(all.iter().map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.clone())).collect())
}

/// The full name that container runtimes give a short one.
fn qualified(name: &str) -> String {
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("{DEFAULT_REGISTRY}/{name}"),
        None => format!("{DEFAULT_REGISTRY}/library/{name}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path_of(descriptor: &Value) -> Result<String> {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    Ok(format!("blobs/sha256/{}", digest.context("no digest")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_get_their_registry() {
        assert_eq!(qualified("profiler-agent"), "docker.io/library/profiler-agent");
        assert_eq!(qualified("team/profiler-agent"), "docker.io/team/profiler-agent");
        assert_eq!(qualified("localhost/profiler-agent"), "localhost/profiler-agent");
        assert_eq!(qualified("registry.example:5000/a/b"), "registry.example:5000/a/b");
    }
}
