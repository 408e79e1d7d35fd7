//! What is linked into the agent, as CycloneDX 1.5 in JSON.
//!
//! The crates are those of `cargo tree` for the agent alone: cargo's metadata would add what other members of the
//! workspace ask of them. Checksums are those of Cargo.lock. The C library and Rust's own are named besides.

use super::source::Source;
use crate::places;
use crate::setup::cross::Compiler;
use crate::shell::{self, output};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const AGENT: &str = "profiler-agent";
const KERNEL_PROGRAM: &str = "profiler-ebpf";
const KERNEL_TARGET: &str = "bpfel-unknown-none";

/// Name and version of a crate.
type Crate = (String, String);
/// What each crate links.
type Graph = BTreeMap<Crate, BTreeSet<Crate>>;

/// The document.
pub(crate) fn document(source: &Source, compiler: &Compiler) -> Result<Vec<u8>> {
    let graph = linked(compiler)?;
    let licenses = licenses()?;
    let checksums = checksums(&fs::read_to_string(places::workspace().join("Cargo.lock"))?)?;
    let root = &named(&graph, AGENT)?;
    let components = graph.keys().filter(|member| *member != root).map(|member| {
        let license = licenses.get(member).and_then(Option::as_deref);
        component(member, license, checksums.get(member).map(String::as_str))
    });
    let mut components: Vec<Value> = components.collect();
    components.extend(libraries(compiler)?);
    let dependencies = graph
        .iter()
        .map(|(member, links)| json!({ "ref": purl(member), "dependsOn": links.iter().map(purl).collect::<Vec<_>>() }));
    let mut agent = component(root, Some(&source.license), None);
    agent["type"] = json!("application");
    agent["description"] = json!(source.description);
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": source.created()?,
            "component": agent,
            "properties": [{ "name": "cargo:target", "value": compiler.triple() }],
        },
        "components": components,
        "dependencies": dependencies.collect::<Vec<_>>(),
    });
    document["serialNumber"] = json!(serial_number(&document));
    Ok(serde_json::to_vec_pretty(&document)?)
}

/// A name that is the content's own (RFC 9562, version 8): the same again for the same content.
fn serial_number(document: &Value) -> String {
    let mut bytes: [u8; 32] = Sha256::digest(document.to_string()).into();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn purl((name, version): &Crate) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn component(member: &Crate, license: Option<&str>, checksum: Option<&str>) -> Value {
    let (name, version) = member;
    let mut component = json!({
        "type": "library", "name": name, "version": version, "bom-ref": purl(member), "purl": purl(member),
    });
    if let Some(license) = license {
        component["licenses"] = json!([{ "expression": license }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// What no crate brings.
fn libraries(compiler: &Compiler) -> Result<[Value; 2]> {
    let library = |name: &str, version: &str, license: &str| {
        let purl = format!("pkg:generic/{name}@{version}");
        json!({
            "type": "library", "name": name, "version": version, "bom-ref": purl, "purl": purl,
            "licenses": [{ "expression": license }],
        })
    };
    Ok([
        library("glibc", &compiler.c_library()?, "LGPL-2.1-or-later"),
        library("rust-std", &compiler.rust_version()?, "MIT OR Apache-2.0"),
    ])
}

/// Lines of `DEPTHname vVERSION …`; what was shown before has no lines below it.
fn tree(package: &str, target: &str) -> Result<String> {
    let mut cargo = shell::cargo(["tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro"]);
    output(cargo.args(["--prefix", "depth", "--charset", "ascii", "--target", target]))
}

/// What the agent links, and the kernel program that lies in it.
fn linked(compiler: &Compiler) -> Result<Graph> {
    let agent = tree(AGENT, &compiler.triple())?;
    let mut graph = graph(&(agent + &tree(KERNEL_PROGRAM, KERNEL_TARGET)?))?;
    let program = named(&graph, KERNEL_PROGRAM)?;
    let agent = named(&graph, AGENT)?;
    graph.entry(agent).or_default().insert(program);
    Ok(graph)
}

fn named(graph: &Graph, name: &str) -> Result<Crate> {
    graph.keys().find(|member| member.0 == name).cloned().with_context(|| format!("no {name} in its own tree"))
}

fn graph(tree: &str) -> Result<Graph> {
    let mut graph = Graph::new();
    let mut path: Vec<Crate> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let depth: usize = line[..digits].parse().with_context(|| format!("no depth in {line:?}"))?;
        let mut words = line[digits..].split(' ');
        let name = words.next().context("no name")?.to_owned();
        let version = words.next().and_then(|word| word.strip_prefix('v'));
        let member = (name, version.with_context(|| format!("no version in {line:?}"))?.to_owned());
        ensure!(depth <= path.len(), "cargo tree skips a level: {line:?}");
        path.truncate(depth);
        if let Some(above) = path.last() {
            graph.entry(above.clone()).or_default().insert(member.clone());
        }
        graph.entry(member.clone()).or_default();
        path.push(member);
    }
    Ok(graph)
}

fn licenses() -> Result<BTreeMap<Crate, Option<String>>> {
    let text = output(&mut shell::cargo(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let of = |package: &Value| {
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        // Written before SPDX had "OR".
        let license = text("license").map(|license| license.replace('/', " OR "));
        Some(((text("name")?, text("version")?), license))
    };
    Ok(packages.iter().filter_map(of).collect())
}

/// Of the files that the registry has, from Cargo.lock.
fn checksums(lock: &str) -> Result<BTreeMap<Crate, String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is not TOML")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let of = |package: &toml::Value| {
        let text = |key: &str| Some(package.get(key)?.as_str()?.to_owned());
        Some(((text("name")?, text("version")?), text("checksum")?))
    };
    Ok(packages.iter().filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargos_tree() {
        let tree = "0top v0.1.0 (/src/top)\n1a v1.0.0\n2b v2.0.0+x\n1c v3.0.0\n2a v1.0.0 (*)\n";
        let member = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let (a, b, c) = (member("a", "1.0.0"), member("b", "2.0.0+x"), member("c", "3.0.0"));
        let wanted = Graph::from([
            (member("top", "0.1.0"), BTreeSet::from([a.clone(), c.clone()])),
            (a.clone(), BTreeSet::from([b.clone()])),
            (b.clone(), BTreeSet::new()),
            (c, BTreeSet::from([a])),
        ]);
        assert_eq!(graph(tree).unwrap(), wanted);
        assert_eq!(purl(&b), "pkg:cargo/b@2.0.0%2Bx");
    }

    #[test]
    fn reads_cargos_checksums() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let wanted = BTreeMap::from([(("a".to_owned(), "1.0.0".to_owned()), "00ff".to_owned())]);
        assert_eq!(checksums(lock).unwrap(), wanted);
    }

    #[test]
    fn serial_numbers_are_of_the_content() {
        let number = serial_number(&json!({ "a": 1 }));
        assert_eq!(number, serial_number(&json!({ "a": 1 })));
        assert_ne!(number, serial_number(&json!({ "a": 2 })));
        assert_eq!((number.len(), &number[23..24]), (45, "8"));
    }
}
