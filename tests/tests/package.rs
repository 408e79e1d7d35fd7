//! The Debian package and the tar archive: what is in them, and that the unit's settings leave the agent what it needs.

use profiler_tests::agent::Agent;
use profiler_tests::oci::{assert_static, made};
use profiler_tests::page_api::{functions, wait_for_function};
use profiler_tests::recorded::is_named;
use profiler_tests::workload::{Running, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most that `systemd-analyze security` may say, in tenths.
const EXPOSURE: &str = "30";

fn folder() -> PathBuf {
    made("PROFILER_PACKAGE", "cargo xtask package")
}

fn package(architecture: &str) -> PathBuf {
    folder().join(format!("profiler-agent_0.1.0-1_{architecture}.deb"))
}

fn of_host() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// What a command says; it must succeed.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

fn unpacked(architecture: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    run(Command::new("dpkg-deb").arg("--extract").arg(package(architecture)).arg(root.path()));
    run(Command::new("dpkg-deb").arg("--control").arg(package(architecture)).arg(root.path().join("DEBIAN")));
    root
}

fn unit(root: &Path) -> PathBuf {
    let places = ["lib", "usr/lib"].map(|lib| root.join(lib).join("systemd/system/profiler-agent.service"));
    places.into_iter().find(|path| path.exists()).expect("the package has a unit")
}

#[test]
fn debian_packages_have_the_agent_its_unit_and_its_configuration() {
    for architecture in ["amd64", "arm64"] {
        let root = unpacked(architecture);
        let at = |path: &str| root.path().join(path);
        assert_static(&at("usr/bin/profiler-agent"), architecture);
        let field = |name: &str| said(Command::new("dpkg-deb").arg("--field").arg(package(architecture)).arg(name));
        assert_eq!((field("Package").trim(), field("Version").trim()), ("profiler-agent", "0.1.0-1"));
        assert_eq!((field("Architecture").trim(), field("Depends").trim()), (architecture, ""));
        let read = |path: &str| std::fs::read_to_string(at(path)).unwrap();
        assert_eq!(read("DEBIAN/conffiles").trim(), "/etc/profiler/profiler.toml");
        assert!(read("usr/share/doc/profiler-agent/copyright").starts_with("Format: https://www.debian.org/doc/"));
        for (script, what) in [("postinst", "deb-systemd-invoke"), ("postrm", "daemon-reload"), ("prerm", "stop")] {
            assert!(read(&format!("DEBIAN/{script}")).contains(what), "{script}");
        }
        assert!(std::fs::read_to_string(unit(root.path())).unwrap().contains("ExecStart=/usr/bin/profiler-agent run"));
    }
}

#[test]
fn the_configuration_of_the_package_is_valid() {
    let root = unpacked(of_host());
    let agent = root.path().join("usr/bin/profiler-agent");
    said(Command::new(agent).args(["config", "check"]).arg(root.path().join("etc/profiler/profiler.toml")));
}

#[test]
fn archives_have_the_same_program() {
    for architecture in ["amd64", "arm64"] {
        let name = format!("profiler-agent-0.1.0-linux-{architecture}");
        let archive = folder().join(format!("{name}.tar.gz"));
        let content = said(Command::new("tar").arg("--list").arg("--file").arg(&archive));
        let files = [
            "",
            "LICENSE-APACHE",
            "LICENSE-GPL-2.0",
            "LICENSE-MIT",
            "README.md",
            "profiler-agent",
            "profiler-agent.service",
            "profiler.toml",
        ];
        assert_eq!(content.lines().collect::<Vec<_>>(), files.map(|file| format!("{name}/{file}")));
        let root = unpacked(architecture);
        run(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(root.path()));
        run(Command::new("cmp")
            .arg(root.path().join(&name).join("profiler-agent"))
            .arg(root.path().join("usr/bin/profiler-agent")));
    }
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    let root = unpacked(of_host());
    let unit = unit(root.path());
    // The program is looked for on this host.
    let text = std::fs::read_to_string(&unit).unwrap();
    let program = root.path().join("usr/bin/profiler-agent");
    std::fs::write(&unit, text.replace("/usr/bin/profiler-agent", program.to_str().unwrap())).unwrap();
    let complaints =
        said(Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]).arg(&unit));
    assert_eq!(complaints, "");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=yes", "--no-pager", &format!("--threshold={EXPOSURE}")]);
    let judged = said(security.arg(&unit));
    assert!(judged.contains("Overall exposure level"), "{judged}");
}

/// Words of a setting of the unit, all lines of it together.
fn setting(unit: &str, name: &str) -> Vec<String> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    let lines: Vec<String> = unit.lines().filter_map(value).collect();
    lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
}

/// Capabilities as `setpriv` takes them.
fn capabilities(unit: &str, name: &str) -> String {
    let words = setting(unit, name);
    let names: Vec<String> = words.iter().map(|word| word.trim_start_matches("CAP_").to_lowercase()).collect();
    assert!(names.contains(&"syslog".to_owned()), "{names:?}");
    format!("-all,+{}", names.join(",+"))
}

/// Mounts as systemd makes them of `ProtectSystem=strict`, `ReadOnlyPaths=` and `InaccessiblePaths=`.
fn mounts(unit: &str) -> String {
    assert_eq!(setting(unit, "ProtectSystem"), ["strict"]);
    let read_only = setting(unit, "ReadOnlyPaths").join(" ");
    let hidden: Vec<String> =
        setting(unit, "InaccessiblePaths").iter().map(|path| path.trim_start_matches('-').to_owned()).collect();
    format!(
        "empty=$(mktemp); chmod 0 $empty
        for path in {}; do test ! -e $path || mount --bind $empty $path; done
        for path in / {read_only}; do mount --bind $path $path; mount --options remount,bind,ro $path; done
        exec \"$@\"",
        hidden.join(" ")
    )
}

/// systemd itself does not run everywhere: capabilities, user and mounts are made here as it makes them of the unit.
#[test]
fn kernel_functions_have_names_under_the_settings_of_the_unit() {
    let root = unpacked(of_host());
    let unit = std::fs::read_to_string(unit(root.path())).unwrap();
    let running = Running::spawn(Command::new("dd").args(["if=/dev/zero", "of=/dev/null", "bs=1M"]));
    // Where any user may look.
    let program = std::env::temp_dir().join(format!("profiler-agent-{}", std::process::id()));
    std::fs::copy(root.path().join("usr/bin/profiler-agent"), &program).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &mounts(&unit), "sh", "setpriv", "--no-new-privs"]);
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(format!("--bounding-set={}", capabilities(&unit, "CapabilityBoundingSet")));
    command.args(["inh", "ambient"].map(|set| format!("--{set}-caps={}", capabilities(&unit, "AmbientCapabilities"))));
    command.arg(&program).args(["run", "--frequency", "99", "--interval", "1s", "--pid", &running.pid().to_string()]);
    let agent = Agent::start(&mut command);
    wait_for_function(&agent, "dd", |function| function.name.ends_with("sys_read"));
    let found = functions(&agent, "dd", "now-1h");
    std::fs::remove_file(program).unwrap();
    let in_kernel: Vec<_> = found.iter().filter(|function| function.kind == "kernel").collect();
    assert!(!in_kernel.is_empty() && in_kernel.iter().all(|function| is_named(&function.name)), "{found:#?}");
    for masking in ["ProtectKernelLogs", "ProtectKernelTunables", "ProcSubset"] {
        assert_eq!(setting(&unit, masking), [""; 0], "it would take names or processes away");
    }
}
