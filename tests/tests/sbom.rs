//! The list of what is linked: valid CycloneDX, and no crate of the program is missing.

use profiler_tests::oci::{Image, Layout, made};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn folder() -> PathBuf {
    made("PROFILER_IMAGE", "cargo xtask image")
}

fn document(image: &Image) -> Value {
    serde_json::from_slice(&image.file("usr/share/sbom/profiler-agent.cdx.json")).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// What the schema of CycloneDX 1.5 asks of the parts that are used.
#[test]
fn it_is_cyclonedx() {
    for image in Layout::open(&folder()).images() {
        let document = document(&image);
        assert_eq!((text(&document, "bomFormat"), text(&document, "specVersion")), ("CycloneDX", "1.5"));
        assert_eq!(document["version"], 1);
        let keys: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
        let known = [
            "$schema",
            "bomFormat",
            "components",
            "dependencies",
            "metadata",
            "serialNumber",
            "specVersion",
            "version",
        ];
        assert_eq!(keys, known);
        let number = text(&document, "serialNumber").strip_prefix("urn:uuid:").unwrap();
        let lengths: Vec<usize> = number.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert_eq!(document["metadata"]["timestamp"], image.config["created"]);
        assert_eq!(text(&document["metadata"]["component"], "type"), "application");
        assert_eq!(text(&document["metadata"]["component"], "purl"), "pkg:cargo/profiler-agent@0.1.0");
        check_components(&document);
        check_dependencies(&document);
    }
}

fn check_components(document: &Value) {
    let components = document["components"].as_array().unwrap();
    for component in components {
        let allowed = ["bom-ref", "hashes", "licenses", "name", "purl", "type", "version"];
        assert!(component.as_object().unwrap().keys().all(|key| allowed.contains(&key.as_str())), "{component}");
        assert_eq!(text(component, "type"), "library");
        assert_eq!(text(component, "bom-ref"), text(component, "purl"));
        assert!(text(component, "purl").starts_with("pkg:"));
        assert!(!text(&component["licenses"][0], "expression").contains('/'), "{component}");
        let is_of_registry =
            !["profiler-common", "profiler-ebpf", "glibc", "rust-std"].contains(&text(component, "name"));
        assert_eq!(component["hashes"].is_array(), is_of_registry, "{component}");
        if is_of_registry {
            assert_eq!(text(&component["hashes"][0], "alg"), "SHA-256");
            assert_eq!(text(&component["hashes"][0], "content").len(), 64);
        }
    }
}

fn check_dependencies(document: &Value) {
    let refs: BTreeSet<&str> =
        document["components"].as_array().unwrap().iter().map(|component| text(component, "bom-ref")).collect();
    let dependencies = document["dependencies"].as_array().unwrap();
    for dependency in dependencies {
        let of = text(dependency, "ref");
        assert!(refs.contains(of) || of == "pkg:cargo/profiler-agent@0.1.0", "{of}");
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(refs.contains(on.as_str().unwrap()), "{of} depends on {on}");
        }
    }
    let of: BTreeSet<&str> = dependencies.iter().map(|dependency| text(dependency, "ref")).collect();
    assert_eq!(of.len(), dependencies.len(), "one of them is there twice");
}

/// The places of panics in the program name the sources of its crates: whoever made the list did not look there.
#[test]
fn every_crate_in_the_program_is_in_it() {
    for image in Layout::open(&folder()).images() {
        let document = document(&image);
        let components = document["components"].as_array().unwrap();
        let listed: BTreeSet<String> = components
            .iter()
            .map(|component| format!("{}-{}", text(component, "name"), text(component, "version")))
            .collect();
        let program = image.file("profiler-agent");
        let found = crates_of(&program);
        assert!(found.len() > 40, "{found:?}");
        let missing: Vec<&String> = found.difference(&listed).collect();
        assert_eq!(missing, [""; 0], "{}", image.architecture);
        for built_with in ["rcgen", "clap_derive", "serde_derive", "cc"] {
            let is_named = components.iter().any(|component| text(component, "name") == built_with);
            assert!(!is_named, "{built_with} is not linked");
        }
    }
}

/// `NAME-VERSION` of each `/crates/NAME-VERSION/…` in it.
fn crates_of(program: &[u8]) -> BTreeSet<String> {
    let start = b"/crates/";
    let places = program.windows(start.len()).enumerate().filter(|(_, window)| window == start);
    let name = |(at, _): (usize, &[u8])| {
        let rest = &program[at + start.len()..];
        let end = rest.iter().take(100).position(|byte| *byte == b'/')?;
        let name = std::str::from_utf8(&rest[..end]).ok()?;
        name.contains('-').then(|| name.to_owned())
    };
    places.filter_map(name).collect()
}

#[test]
fn it_lies_beside_the_image_too() {
    for image in Layout::open(&folder()).images() {
        let beside = folder().join(format!("profiler-agent-0.1.0-{}.cdx.json", image.architecture));
        assert_eq!(std::fs::read(beside).unwrap(), image.file("usr/share/sbom/profiler-agent.cdx.json"));
    }
}
