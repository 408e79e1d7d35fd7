//! Compilers that make static programs of either architecture: Debian's Rust with the C library and compiler of Debian.
//!
//! For this host's architecture the host's own C compiler links; for the other one a cross compiler and the standard
//! library of Debian's Rust are unpacked into the cache.

use super::{bpf, debian};
use crate::places;
use crate::shell::{command, output, step};
use crate::vm::{Architecture, Archive};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Debian's package of the standard library's compiled form.
const LIBRARY: &str = "libstd-rust-web-dev";

/// What compiles and links for an architecture.
pub(crate) struct Compiler {
    pub(crate) architecture: Architecture,
    folder: PathBuf,
    rustc: PathBuf,
}

impl Compiler {
    /// Unpacks or installs what is not there.
    pub(crate) fn install(architecture: Architecture) -> Result<Self> {
        let chain = bpf::compiler()?;
        let version = debian::candidate(LIBRARY)?;
        let name = version.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "_");
        let folder = places::cache()?.join("vm").join(format!("cross-{}-{name}", architecture.name()));
        let compiler = Self { architecture, folder, rustc: chain.rustc() };
        if compiler.is_of_host() {
            let library = format!("/usr/lib/{}/libc.a", compiler.prefix());
            debian::install(&[("gcc", "gcc"), (&library, "libc6-dev")])?;
            return Ok(compiler);
        }
        let _lock = places::lock("cross")?;
        fs::create_dir_all(&compiler.folder)?;
        places::fill(&compiler.folder.join("gcc"), |root| compiler.unpack_gcc(root))?;
        places::fill(&compiler.folder.join("std"), |root| compiler.unpack_library(root, &version))?;
        compiler.write_tools()?;
        Ok(compiler)
    }

    fn is_of_host(&self) -> bool {
        self.architecture == Architecture::of_host()
    }

    /// As Rust names the architecture with Linux and glibc.
    pub(crate) fn triple(&self) -> String {
        format!("{}-unknown-linux-gnu", self.architecture.name())
    }

    /// As GNU names what runs on the architecture.
    fn prefix(&self) -> String {
        format!("{}-linux-gnu", self.architecture.name())
    }

    /// The Rust compiler, which knows the standard library of its host alone.
    pub(crate) fn rustc(&self) -> &Path {
        &self.rustc
    }

    /// Where the standard library is, unless the compiler knows.
    pub(crate) fn sysroot(&self) -> Option<PathBuf> {
        (!self.is_of_host()).then(|| self.folder.join("std/usr"))
    }

    /// `gcc` or `ar`.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        if self.is_of_host() { name.into() } else { self.folder.join("bin").join(name) }
    }

    /// Version of the C library that is linked, such as `2.36`.
    pub(crate) fn c_library(&self) -> Result<String> {
        let header = ["-E", "-dM", "-xc", "-include", "features.h", "/dev/null"];
        let text = output(&mut command(self.tool("gcc"), header))?;
        let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("#define {name} ")));
        let (major, minor) = number("__GLIBC__").zip(number("__GLIBC_MINOR__")).context("features.h has no version")?;
        Ok(format!("{major}.{minor}"))
    }

    /// Version of the Rust compiler and its standard library, such as `1.96.0`.
    pub(crate) fn rust_version(&self) -> Result<String> {
        let text = output(&mut command(&self.rustc, ["--version"]))?;
        Ok(text.split_whitespace().nth(1).context("no version of rustc")?.to_owned())
    }

    fn unpack_gcc(&self, root: &Path) -> Result<()> {
        // Names of packages have no underscore.
        let prefix = self.prefix().replace('_', "-");
        let gcc = format!("gcc-{prefix}");
        let headers = format!("libc6-dev-{}-cross", self.architecture.of_debian());
        let mut apt = command("apt-cache", ["depends", "--recurse", "--important", &gcc, &headers]);
        let of_target = [prefix, format!("-{}-cross", self.architecture.of_debian())];
        let text = output(apt.env("LC_ALL", "C"))?;
        let packages: Vec<String> = text
            .lines()
            .filter(|line| of_target.iter().any(|part| line.contains(part)) && !line.starts_with([' ', '<']))
            .map(str::to_owned)
            .collect();
        step(&format!("fetching the C compiler for {} (about 36 MB)", self.architecture.name()));
        let downloads = root.with_extension("downloads");
        debian::unpack(&packages, &downloads, root)?;
        Ok(fs::remove_dir_all(downloads)?)
    }

    fn unpack_library(&self, root: &Path, version: &str) -> Result<()> {
        step(&format!("fetching Rust's standard library for {} (about 34 MB)", self.architecture.name()));
        let archive = Archive::of_host(self.architecture.of_debian())?;
        archive.unpack(&[&format!("{LIBRARY}={version}")], root)
    }

    /// Scripts that find their libraries.
    fn write_tools(&self) -> Result<()> {
        let root = self.folder.join("gcc/usr");
        let libraries = root.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
        for name in ["gcc", "ar"] {
            let program = root.join(format!("bin/{}-{name}", self.prefix()));
            debian::write_script(&self.tool(name), &program, &libraries)?;
        }
        Ok(())
    }
}
