//! A real Kubernetes node for the tests, from Debian packages and Go modules: containerd, runc, etcd, Kubernetes itself, and
//! the OpenTelemetry collector.
//!
//! Input: the modules in `tests/cluster/kube` and `tests/cluster/collector`. Output: a folder in the cache with `bin/`,
//! `debian/` (unpacked packages) and `pause.tar`, for `tests/cluster/up`. Nothing is installed on the host.

use super::{debian, go, go_tools};
use crate::places;
use crate::shell::{self, command, step};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// As in go.mod; `tests/cluster/kube/regenerate` changes it there.
const KUBERNETES: &str = "1.36.3";
/// What this file makes of it: another number is another folder.
const REVISION: u32 = 2;

/// Packages and what they need that a host may lack: kube-proxy calls nft.
const PACKAGES: &[&str] = &[
    "containerd",
    "runc",
    "containernetworking-plugins",
    "etcd-server",
    "nftables",
    "libnftables1",
    "libnftnl11",
    "libmnl0",
    "libjansson4",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libxtables12",
];

/// Names that one program goes by.
const KUBE: &[&str] = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];

/// What the scripts call.
const HOST_PROGRAMS: &[(&str, &str)] =
    &[("openssl", "openssl"), ("ip", "iproute2"), ("nsenter", "util-linux"), ("flock", "util-linux")];

/// Makes the folder unless it is there.
pub(crate) fn install() -> Result<PathBuf> {
    debian::install(HOST_PROGRAMS)?;
    let helm = go_tools::install(go_tools::HELM)?;
    let folder = places::cache()?.join(format!("cluster-{KUBERNETES}-{REVISION}"));
    let _lock = places::lock("cluster-kit")?;
    places::fill(&folder, |partial| {
        fs::create_dir(partial.join("bin"))?;
        packages(partial)?;
        kubernetes(partial)?;
        collector(partial)?;
        std::os::unix::fs::symlink(&helm, partial.join("bin/helm"))?;
        pause(partial)
    })?;
    Ok(folder)
}

fn packages(into: &Path) -> Result<()> {
    step("downloading containerd, runc and etcd (about 60 MB)");
    let downloads = into.join("downloads");
    let names: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    debian::unpack(&names, &downloads, &into.join("debian"))?;
    Ok(fs::remove_dir_all(downloads)?)
}

fn kubernetes(into: &Path) -> Result<()> {
    step(&format!("building Kubernetes {KUBERNETES} (five minutes, and 300 MB of modules)"));
    let module = module("kube");
    let text = fs::read_to_string(module.join("go.mod"))?;
    ensure!(text.contains(&format!("k8s.io/kubernetes v{KUBERNETES}\n")), "go.mod is for another Kubernetes");
    let minor = KUBERNETES.split('.').nth(1).context("no minor version")?;
    let version = "k8s.io/component-base/version";
    let flags = format!("-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor={minor}");
    for (name, package) in [("pause", "./pause"), ("kube", "."), ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy")] {
        build(&module, package, &flags, &into.join("bin").join(name))?;
    }
    for name in KUBE {
        std::os::unix::fs::symlink("kube", into.join("bin").join(name))?;
    }
    Ok(())
}

fn collector(into: &Path) -> Result<()> {
    step("building the OpenTelemetry collector (two minutes)");
    build(&module("collector"), ".", "", &into.join("bin/collector"))
}

/// A module of ours.
fn module(name: &str) -> PathBuf {
    places::workspace().join("tests/cluster").join(name)
}

/// One static program.
fn build(module: &Path, package: &str, flags: &str, program: &Path) -> Result<()> {
    let mut go = command(go::install()?.join("go"), ["build", "-mod=readonly", "-trimpath", "-buildvcs=false"]);
    go.args(["-ldflags", &format!("-s -w {flags}"), "-o"]).arg(program).arg(package);
    // The module may ask for a newer Go than the server's: Go fetches it.
    go.current_dir(module).env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "auto");
    shell::output(&mut go).map(drop)
}

/// The image of the program that holds a pod's namespaces.
fn pause(into: &Path) -> Result<()> {
    let mut image = command(places::workspace().join("tests/cluster/image"), ["pause.tar", "localhost/pause:dev"]);
    shell::output(image.args(["/pause", "bin/pause=/pause"]).current_dir(into)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_is_of_this_version() {
        let text = fs::read_to_string(module("kube").join("go.mod")).unwrap();
        assert!(text.contains(&format!("k8s.io/kubernetes v{KUBERNETES}\n")));
    }
}
