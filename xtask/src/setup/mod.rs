//! `setup`: installs what a part lacks. Input: a part's name. Output: tools in the cache or Debian packages on the host.
//!
//! Invariant: nothing is done twice, nothing half done is left behind under its final name.

pub(crate) mod bpf;
pub(crate) mod cargo_tools;
pub(crate) mod cluster;
pub(crate) mod cross;
pub(crate) mod debian;
pub(crate) mod go;
pub(crate) mod go_tools;

use crate::shell::step;
use crate::vm::Architecture;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Arguments of `setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The part; all of them without one
    part: Option<Part>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    /// The reference tool chain of `cargo xtask bpf`
    Bpf,
    /// What the tests start: a browser, C and Go compilers, Python, Node, Java and Podman
    Test,
    /// cargo-fuzz
    Fuzz,
    /// cargo-deny
    Lint,
    /// cargo-deb, and compilers for both architectures
    Package,
    /// A Kubernetes node
    Cluster,
    /// What renders and checks deploy/: helm, kubeconform, promtool, kustomize, Lua
    Deploy,
}

/// Programs that tests start, and the Debian packages that have them.
const TEST_PROGRAMS: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("setpriv", "util-linux"),
    ("readelf", "binutils"),
    ("/usr/bin/python3", "python3"),
    ("node", "nodejs"),
    ("java", "default-jre-headless"),
    ("g++", "g++"),
    ("clang", "clang"),
    ("ld.lld", "lld"),
    ("musl-gcc", "musl-tools"),
    ("xargs", "findutils"),
    ("objcopy", "binutils"),
    ("xz", "xz-utils"),
    ("dwz", "dwz"),
    ("/usr/share/postgresql-common/pg_wrapper", "postgresql"),
    // The server is in it, under another name; the package of the server would start it at boot.
    ("redis-check-rdb", "redis-tools"),
    ("git", "git"),
    // Its socket starts it when somebody asks, no sooner.
    ("podman", "podman"),
    ("runc", "runc"),
];

/// The same for the long form.
const LONG_TEST_PROGRAMS: &[(&str, &str)] =
    &[("perf", "linux-perf"), ("ffmpeg", "ffmpeg"), ("ab", "apache2-utils"), ("javac", "default-jdk-headless")];

/// The verb.
pub(crate) fn setup(args: &Args) -> Result<()> {
    let all = [Part::Bpf, Part::Test, Part::Fuzz, Part::Lint, Part::Package, Part::Deploy, Part::Cluster];
    let parts = args.part.as_ref().map_or(&all[..], std::slice::from_ref);
    for part in parts {
        match part {
            Part::Bpf => step(&format!("BPF tool chain: {}", bpf::install()?.describe()?)),
            Part::Fuzz => step(&format!("cargo-fuzz: {}", cargo_tools::install(cargo_tools::FUZZ)?.display())),
            Part::Deploy => {
                for tool in go_tools::ALL {
                    step(&format!("{}", go_tools::install(*tool)?.display()));
                }
            }
            Part::Lint => step(&format!("cargo-deny: {}", cargo_tools::install(cargo_tools::DENY)?.display())),
            Part::Package => {
                step(&format!("cargo-deb: {}", cargo_tools::install(cargo_tools::DEB)?.display()));
                for architecture in [Architecture::X86_64, Architecture::Aarch64] {
                    let compiler = cross::Compiler::install(architecture)?;
                    step(&format!(
                        "{}: Rust {}, {}",
                        compiler.triple(),
                        compiler.rust_version()?,
                        compiler.tool("gcc").display()
                    ));
                }
            }
            Part::Cluster => step(&format!("Kubernetes: {}", cluster::install()?.display())),
            Part::Test => step(&format!("programs of the tests are there; {}", go::describe(&test(true)?)?)),
        }
    }
    Ok(())
}

/// Installs what the tests start; returns the folder of `go`.
pub(crate) fn test(long: bool) -> Result<PathBuf> {
    without_database()?;
    debian::install(TEST_PROGRAMS)?;
    if long {
        debian::install(LONG_TEST_PROGRAMS)?;
        nginx()?;
    }
    go::install()
}

/// Debian's nginx, unpacked and not installed: its packages would start a server at boot. The libraries it needs are those
/// of Python and git.
fn nginx() -> Result<()> {
    let _lock = crate::places::lock("nginx")?;
    let folder = crate::places::cache()?.join("nginx");
    crate::places::fill(&folder, |root| {
        step("downloading nginx (less than 1 MB)");
        let downloads = root.with_extension("downloads");
        debian::unpack(&["nginx".to_owned()], &downloads, root)?;
        Ok(std::fs::remove_dir_all(downloads)?)
    })
}

/// Debian's postgresql makes a database and starts it, now and at boot, unless it is told not to.
fn without_database() -> Result<()> {
    let folder = Path::new("/etc/postgresql-common");
    if folder.exists() || !crate::shell::has("apt-get") {
        return Ok(());
    }
    step("telling Debian's postgresql to make no database: /etc/postgresql-common/createcluster.d/profiler.conf");
    std::fs::create_dir_all(folder.join("createcluster.d"))?;
    Ok(std::fs::write(folder.join("createcluster.d/profiler.conf"), "create_main_cluster = false\n")?)
}
