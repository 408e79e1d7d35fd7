//! Says what a layout holds: digests, and sizes as they are pulled.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Prints the digest of the index, then a line per architecture.
pub(super) fn print(layout: &Path) -> Result<()> {
    let top = read(&layout.join("index.json"))?;
    let index = &top["manifests"][0];
    println!("{}  {}", index["digest"].as_str().context("no digest")?, layout.display());
    let manifests = blob(layout, index)?;
    for descriptor in manifests["manifests"].as_array().context("no manifests")? {
        let manifest = blob(layout, descriptor)?;
        let layers = manifest["layers"].as_array().context("no layers")?;
        let size: u64 = layers.iter().filter_map(|layer| layer["size"].as_u64()).sum();
        println!(
            "{}  linux/{}, {:.1} MB compressed",
            descriptor["digest"].as_str().context("no digest")?,
            descriptor["platform"]["architecture"].as_str().context("no architecture")?,
            size as f64 / 1e6
        );
    }
    Ok(())
}

fn blob(layout: &Path, descriptor: &Value) -> Result<Value> {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    read(&layout.join("blobs/sha256").join(digest.context("no digest")?))
}

fn read(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}
