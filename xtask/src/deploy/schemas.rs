//! Strict schemas for kubeconform: of Kubernetes from its OpenAPI document, of custom resources from their definitions.
//!
//! Strict is what the API server's strict validation is: a field that is not in the schema is refused.

use super::manifest;
use crate::places;
use crate::setup::go_tools;
use crate::shell::step;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The oldest Kubernetes that is promised, and the one that the tests run: version and module.
pub(super) const KUBERNETES: &[(&str, &str)] =
    &[("1.25.16", "k8s.io/kubernetes@v1.25.16"), ("1.36.3", "k8s.io/kubernetes@v1.36.3")];

/// Modules with definitions of custom resources, and the folder in each.
const DEFINITIONS: &[(&str, &str)] = &[
    ("github.com/argoproj/argo-cd/v3@v3.5.7", "manifests/crds"),
    ("github.com/fluxcd/helm-controller@v1.6.4", "config/crd/bases"),
    ("github.com/fluxcd/kustomize-controller@v1.9.5", "config/crd/bases"),
    ("github.com/fluxcd/source-controller@v1.9.5", "config/crd/bases"),
    (
        "github.com/prometheus-community/helm-charts@v0.0.0-20260828105119-ed5d7d9b5933",
        "charts/kube-prometheus-stack/charts/crds/crds",
    ),
    ("github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds"),
    ("sigs.k8s.io/gateway-api@v1.4.1", "config/crd/standard"),
    ("github.com/external-secrets/external-secrets@v0.20.4", "config/crds/bases"),
    ("github.com/bitnami-labs/sealed-secrets@v0.36.0", "helm/sealed-secrets/crds"),
];

/// The folder with the schemas for a Kubernetes, made unless it is there.
pub(super) fn install(version: &str, module: &str) -> Result<PathBuf> {
    let folder = places::cache()?.join(format!("schemas-2-{version}"));
    let _lock = places::lock("schemas")?;
    places::fill(&folder, |partial| {
        step(&format!("making schemas of Kubernetes {version} and of custom resources"));
        for (module, path) in DEFINITIONS {
            custom(&go_tools::module(module)?.join(path), partial).with_context(|| format!("{module} {path}"))?;
        }
        kubernetes(&go_tools::module(module)?.join("api/openapi-spec/swagger.json"), partial)
    })?;
    Ok(folder)
}

/// What kubeconform calls a schema.
fn file_name(kind: &str, group: &str, version: &str) -> String {
    let group = group.split('.').next().unwrap_or_default();
    let parts = [&kind.to_lowercase(), group, version];
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("-") + ".json"
}

fn custom(definitions: &Path, into: &Path) -> Result<()> {
    for path in super::generate::files_of(definitions, "yaml")? {
        let all = manifest::read(&path)?;
        for definition in all.iter().filter(|object| manifest::kind(object) == "CustomResourceDefinition") {
            let (group, kind) =
                (manifest::text(definition, "/spec/group"), manifest::text(definition, "/spec/names/kind"));
            for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
                let name = manifest::text(version, "/name");
                let mut schema = version["schema"]["openAPIV3Schema"].clone();
                strict(&mut schema);
                schema["properties"]["apiVersion"] = json!({"enum": [format!("{group}/{name}")]});
                schema["properties"]["kind"] = json!({"enum": [kind]});
                schema["properties"]["metadata"] = json!({"type": "object"});
                fs::write(into.join(file_name(kind, group, name)), schema.to_string())?;
            }
        }
    }
    Ok(())
}

/// Refuses unknown fields, unless the definition keeps them.
fn strict(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.remove("x-kubernetes-int-or-string").is_some() {
        fields.remove("anyOf");
        fields.insert("type".to_owned(), json!(["string", "integer"]));
    }
    for child in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        strict(child);
    }
    for key in ["items", "additionalProperties"] {
        fields.get_mut(key).into_iter().for_each(strict);
    }
    let keeps = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if fields.get("properties").is_some_and(|all| all != &json!({})) && !keeps {
        fields.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    if fields.get("nullable") == Some(&Value::Bool(true)) && fields.get("type").is_some_and(Value::is_string) {
        fields["type"] = json!([fields["type"], "null"]);
    }
}

/// Beside the definitions of kinds, those of what all kinds have in common.
const COMMON: &str = "io.k8s.apimachinery";

fn kubernetes(swagger: &Path, into: &Path) -> Result<()> {
    let text = fs::read_to_string(swagger).with_context(|| format!("cannot read {}", swagger.display()))?;
    let document: Value = serde_json::from_str(&text)?;
    let definitions = document["definitions"].as_object().context("no definitions")?;
    let mut schemas: Map<String, Value> =
        definitions.iter().map(|(name, all)| (name.clone(), strict_api(all))).collect();
    schemas.insert(format!("{COMMON}.pkg.util.intstr.IntOrString"), json!({"type": ["string", "integer"]}));
    schemas.insert(format!("{COMMON}.pkg.api.resource.Quantity"), json!({"type": ["string", "number"]}));
    for (name, definition) in definitions.iter().filter(|(name, _)| !name.starts_with(COMMON)) {
        for id in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let [group, version, kind] = ["/group", "/version", "/kind"].map(|pointer| manifest::text(id, pointer));
            let mut schema = schemas[name].clone();
            let mut used = BTreeSet::new();
            references(&schemas, &schema, &mut used);
            let used = used.into_iter().map(|name| (name.clone(), schemas[&name].clone())).collect::<Map<_, _>>();
            let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            schema["definitions"] = Value::Object(used);
            schema["properties"]["apiVersion"] = json!({"enum": [api]});
            schema["properties"]["kind"] = json!({"enum": [kind]});
            fs::write(into.join(file_name(kind, group, version)), schema.to_string())?;
        }
    }
    Ok(())
}

/// Unknown fields are refused, optional ones may be null.
fn strict_api(node: &Value) -> Value {
    let Value::Object(fields) = node else {
        return match node {
            Value::Array(items) => items.iter().map(strict_api).collect(),
            other => other.clone(),
        };
    };
    if let Some(reference) = fields.get("$ref").filter(|reference| reference.is_string()) {
        return json!({"$ref": reference});
    }
    let mut result = Map::new();
    for (key, value) in fields {
        let says_nothing = ["description", "default", "x-kubernetes-group-version-kind"].contains(&key.as_str());
        match value {
            Value::Object(all) if key == "properties" => {
                let all = all.iter().map(|(name, schema)| (name.clone(), strict_api(schema))).collect();
                result.insert(key.clone(), Value::Object(all));
            }
            _ if says_nothing && !value.is_object() => {}
            _ => drop(result.insert(key.clone(), strict_api(value))),
        }
    }
    let required: Vec<&str> =
        fields.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(Value::Object(properties)) = result.get_mut("properties") {
        for (_, schema) in properties.iter_mut().filter(|(name, _)| !required.contains(&name.as_str())) {
            optional(schema);
        }
        result.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    Value::Object(result)
}

fn optional(schema: &mut Value) {
    if schema["type"].is_string() {
        schema["type"] = json!([schema["type"], "null"]);
    } else if schema.get("$ref").is_some() {
        *schema = json!({"anyOf": [schema, {"type": "null"}]});
    }
}

/// Adds every definition that a schema needs.
fn references(schemas: &Map<String, Value>, node: &Value, found: &mut BTreeSet<String>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| references(schemas, item, found)),
        Value::Object(fields) => fields.values().for_each(|field| references(schemas, field, found)),
        _ => {}
    }
    let Some(name) = node.get("$ref").and_then(Value::as_str) else { return };
    let name = name.trim_start_matches("#/definitions/");
    if found.insert(name.to_owned())
        && let Some(schema) = schemas.get(name)
    {
        references(schemas, schema, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubeconform() {
        assert_eq!(file_name("Deployment", "apps", "v1"), "deployment-apps-v1.json");
        assert_eq!(file_name("ConfigMap", "", "v1"), "configmap-v1.json");
        assert_eq!(file_name("Application", "argoproj.io", "v1alpha1"), "application-argoproj-v1alpha1.json");
    }

    #[test]
    fn refuses_what_a_definition_does_not_have() {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "string", "nullable": true}}});
        strict(&mut schema);
        let expected = json!({"type": "object", "additionalProperties": false,
                              "properties": {"a": {"type": ["string", "null"], "nullable": true}}});
        assert_eq!(schema, expected);
    }

    #[test]
    fn optional_fields_may_be_null() {
        let schema = json!({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]});
        let strict = strict_api(&schema);
        assert_eq!(strict["properties"]["a"]["type"], "string");
        assert_eq!(strict["properties"]["b"]["type"], json!(["string", "null"]));
        assert_eq!(strict["additionalProperties"], false);
    }
}
