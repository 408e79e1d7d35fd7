//! The reference BPF tool chain: Debian's rustc with its own standard library's source and LLVM, and a bpf-linker
//! built against that LLVM. Unpacked into the cache, never installed.
//!
//! rust-src must be of exactly the compiler's version and bpf-linker must use exactly its LLVM; Debian ships the
//! three together.

use super::debian;
use crate::shell::{command, output, run, step};
use crate::{places, shell};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const COMPILER: &str = "rustc-web";
const LIBRARY_SOURCE: &str = "rust-web-src";
const LIBRARY_DEV: &str = "libstd-rust-web-dev";
/// Version of bpf-linker, and the LLVM it is built for.
const LINKER: &str = "0.13.0";
const LLVM: &str = "22";

/// An installed tool chain.
pub(crate) struct Chain {
    folder: PathBuf,
}

impl Chain {
    /// The compiler, as a script that finds its libraries.
    pub(crate) fn rustc(&self) -> PathBuf {
        self.folder.join("bin/rustc")
    }

    /// The linker, as a script that finds its libraries.
    pub(crate) fn linker(&self) -> PathBuf {
        self.folder.join("bin/bpf-linker")
    }

    /// Where the unpacked libraries are.
    fn libraries(&self) -> PathBuf {
        self.root().join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
    }

    /// What was unpacked, with the standard library's source in it.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Versions of compiler and linker, as recorded in the objects.
    pub(crate) fn describe(&self) -> Result<String> {
        let compiler = output(&mut command(self.rustc(), ["--version"]))?;
        let linker = output(&mut command(self.linker(), ["--version"]))?;
        Ok(format!("{}; {}", compiler.trim(), linker.trim()))
    }
}

/// Installs it unless it is there.
pub(crate) fn install() -> Result<Chain> {
    let chain = compiler()?;
    let _lock = places::lock("bpf-toolchain")?;
    places::fill(&chain.folder.join("linker"), |linker| build_linker(&chain, linker))?;
    debian::write_script(&chain.linker(), &chain.folder.join("linker/bin/bpf-linker"), &chain.libraries())?;
    Ok(chain)
}

/// Installs the compiler of the chain alone unless it is there.
pub(crate) fn compiler() -> Result<Chain> {
    if !shell::has("apt-get") {
        anyhow::bail!(
            "the BPF tool chain is made of Debian packages: run this on Debian 12 or newer, or in its container"
        );
    }
    let _lock = places::lock("bpf-toolchain")?;
    let version = debian::candidate(COMPILER)?;
    let name = version.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "_");
    let folder = places::cache()?.join(format!("bpf-toolchain-{name}-{LINKER}"));
    places::fill(&folder.join("root"), |root| unpack(root, &version))?;
    let chain = Chain { folder };
    debian::write_script(&chain.rustc(), &chain.root().join("usr/bin/rustc"), &chain.libraries())?;
    Ok(chain)
}

fn unpack(root: &Path, version: &str) -> Result<()> {
    step(&format!("downloading the BPF compiler {version} (about 150 MB)"));
    // "1.96.0+dfsg…" depends on libstd-rust-web-1.96.
    let series: Vec<&str> = version.split('.').take(2).collect();
    let library = format!("libstd-rust-web-{}", series.join("."));
    let runtime = debian::closure(&[&library, &format!("libllvm{LLVM}")])?;
    let tools = [COMPILER, LIBRARY_DEV, LIBRARY_SOURCE].map(str::to_owned);
    let downloads = root.with_extension("downloads");
    debian::unpack(&[&tools[..], &runtime].concat(), &downloads, root)?;
    Ok(fs::remove_dir_all(downloads)?)
}

/// Builds bpf-linker with the compiler that runs us, linked to the unpacked LLVM.
fn build_linker(chain: &Chain, linker: &Path) -> Result<()> {
    step(&format!("building bpf-linker {LINKER} (about a minute)"));
    let libraries = chain.libraries();
    let prefix = linker.join("llvm/lib");
    fs::create_dir_all(&prefix)?;
    let llvm = fs::read_dir(&libraries)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with(&format!("libLLVM.so.{LLVM}")))
        .with_context(|| format!("no libLLVM.so.{LLVM} in {}", libraries.display()))?;
    for name in ["libLLVM.so", &format!("libLLVM-{LLVM}.so"), llvm.as_str()] {
        symlink(libraries.join(&llvm), prefix.join(name))?;
    }
    let mut cargo = shell::cargo(["install", "bpf-linker", "--version", LINKER, "--locked", "--quiet"]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{LLVM}"), "--no-track", "--root"]).arg(linker);
    cargo.arg("--target-dir").arg(linker.join("build"));
    cargo.env("LLVM_PREFIX", linker.join("llvm")).env("LD_LIBRARY_PATH", libraries);
    cargo.env("CARGO_BUILD_BUILD_DIR", linker.join("build"));
    run(&mut cargo)?;
    fs::remove_dir_all(linker.join("build"))?;
    Ok(fs::remove_dir_all(linker.join("llvm"))?)
}
