//! The agent as it is shipped: optimized, static, and the same bytes wherever the tree and cargo's folders lie. Programs of
//! the tests can be made in the same way.
//!
//! Invariant: the compiler sees no path of this machine that it could write down. It gets them from a script, not from
//! cargo, because cargo names its files by the flags that it gives.

use crate::places;
use crate::setup::cross::Compiler;
use crate::shell::{self, output, run, step};
use crate::vm::Architecture;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Builds it for each architecture; returns the programs in that order.
pub(crate) fn build(compilers: &[Compiler]) -> Result<Vec<PathBuf>> {
    programs(compilers, "profiler-agent", "profiler-agent")
}

/// A program of a package.
fn programs(compilers: &[Compiler], package: &str, name: &str) -> Result<Vec<PathBuf>> {
    let names: Vec<&str> = compilers.iter().map(|compiler| compiler.architecture.name()).collect();
    step(&format!("building the static {name} for {}", names.join(" and ")));
    let started = Instant::now();
    let target = target();
    fs::create_dir_all(&target)?;
    let rustc = target.join("rustc");
    write_rustc(&rustc, compilers)?;
    let mut cargo = shell::cargo(["build", "--locked", "--release", "--package", package, "--bin", name]);
    cargo.arg("--target-dir").arg(&target);
    cargo.env("RUSTC", &rustc).env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static").env("CARGO_INCREMENTAL", "0");
    for compiler in compilers {
        let triple = compiler.triple();
        let (upper, lower) = (triple.to_uppercase().replace('-', "_"), triple.replace('-', "_"));
        cargo.args(["--target", &triple]);
        cargo.env(format!("CARGO_TARGET_{upper}_LINKER"), compiler.tool("gcc"));
        cargo.env(format!("CC_{lower}"), compiler.tool("gcc")).env(format!("AR_{lower}"), compiler.tool("ar"));
    }
    run(&mut cargo)?;
    println!("static {name} for {}: built in {:.0} s", names.join(" and "), started.elapsed().as_secs_f64());
    Ok(compilers.iter().map(|compiler| target.join(compiler.triple()).join("release").join(name)).collect())
}

/// Where cargo puts them, in a folder per architecture.
pub(crate) fn target() -> PathBuf {
    places::target().join("static")
}

/// For one architecture.
pub(crate) fn of(architecture: Architecture) -> Result<PathBuf> {
    build(&[Compiler::install(architecture)?])?.pop().context("no agent was built")
}

/// A program of the tests for one architecture.
pub(crate) fn of_tests(architecture: Architecture, name: &str) -> Result<PathBuf> {
    programs(&[Compiler::install(architecture)?], "profiler-tests", name)?.pop().context("no program was built")
}

/// A compiler that knows where the standard libraries are, and under which names paths of this machine go.
fn write_rustc(path: &Path, compilers: &[Compiler]) -> Result<()> {
    let compiler = compilers.first().context("no architecture")?;
    let mut script = "#!/bin/sh\ncase \" $* \" in\n".to_owned();
    for compiler in compilers {
        if let Some(sysroot) = compiler.sysroot() {
            script +=
                &format!("*' --target {} '*) set -- \"$@\" --sysroot='{}' ;;\n", compiler.triple(), sysroot.display());
        }
    }
    script += &format!("esac\nexec '{}' \"$@\"", compiler.rustc().display());
    for (from, to) in neutral_names()? {
        script += &format!(" --remap-path-prefix='{}={to}'", from.display());
    }
    script.push('\n');
    // Cargo asks a compiler anew that was written anew.
    if fs::read_to_string(path).is_ok_and(|present| present == script) {
        return Ok(());
    }
    places::write(path, script.as_bytes())?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Folders of this machine that sources lie in, and what they are called in the program; of two that fit, the compiler
/// takes the latter.
fn neutral_names() -> Result<Vec<(PathBuf, &'static str)>> {
    let text = output(&mut shell::cargo(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let folder = |key: &str| metadata[key].as_str().map(PathBuf::from);
    let home = cargo_home()?;
    let mut names = vec![(places::workspace(), "/src"), (home.clone(), "/cargo")];
    names.extend(
        [(folder("target_directory"), "/build"), (folder("build_directory"), "/build")]
            .into_iter()
            .filter_map(|(folder, name)| Some((folder?, name))),
    );
    names.push((target(), "/build"));
    // Named after the registry or its mirror.
    if let Ok(registries) = fs::read_dir(home.join("registry/src")) {
        names.extend(registries.filter_map(|entry| Some((entry.ok()?.path(), "/crates"))));
    }
    names.sort_by_key(|(folder, _)| (folder.as_os_str().len(), folder.clone()));
    names.dedup();
    Ok(names)
}

fn cargo_home() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).context("no home folder: set CARGO_HOME")
}
