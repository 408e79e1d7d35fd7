//! Objects as Kubernetes knows them, read from YAML.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

/// The documents of a stream, without empty ones.
pub(super) fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The documents of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    documents(&text).with_context(|| format!("{}", path.display()))
}

/// The only document of a file.
pub(super) fn read_one(path: &Path) -> Result<Value> {
    let documents = read(path)?;
    let [document] = <[Value; 1]>::try_from(documents)
        .map_err(|all| anyhow::anyhow!("{}: {} documents, not one", path.display(), all.len()))?;
    Ok(document)
}

/// What stands there, or nothing.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `kind` of an object.
pub(super) fn kind(object: &Value) -> &str {
    text(object, "/kind")
}

/// Its group of `apiVersion`; empty for the core.
pub(super) fn group(object: &Value) -> &str {
    text(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group)
}

/// Its name.
pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Every string in it, with the way there.
pub(super) fn strings(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, visit)),
        _ => {}
    }
}
