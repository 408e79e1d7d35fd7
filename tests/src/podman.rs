//! A real Podman: containers of an image that holds one static program, and the API on a socket, all below one folder.

use crate::workload::run;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The image.
pub const IMAGE: &str = "localhost/shop/burn:v7";
/// How long the API may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Podman with storage of its own; its containers are gone when it is dropped.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
    service: Child,
}

impl Podman {
    /// Makes the image of a static program, and serves the API.
    #[must_use]
    pub fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder for podman");
        let archive = folder.path().join("image.tar");
        run(Command::new("tar")
            .arg("-C")
            .arg(program.parent().expect("a folder"))
            .arg("-cf")
            .arg(&archive)
            .arg("burn"));
        run(podman(folder.path()).args(["import", "--change", "ENTRYPOINT [\"/burn\"]"]).arg(&archive).arg(IMAGE));
        let socket = folder.path().join("podman.sock");
        let address = format!("unix://{}", socket.display());
        let mut service = podman(folder.path());
        service.args(["system", "service", "--time", "0", &address]).stdin(Stdio::null());
        let service = service.spawn().expect("podman serves");
        let podman = Self { folder, service };
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(started.elapsed() < PATIENCE, "podman's socket is not there");
            std::thread::sleep(Duration::from_millis(20));
        }
        podman
    }

    /// Where it is asked.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    /// Starts a container; returns the process in it.
    #[must_use]
    pub fn run(&self, name: &str, labels: &[&str]) -> u32 {
        let mut command = podman(self.folder.path());
        command.args(["run", "--detach", "--network", "none", "--name", name, "--cgroup-parent", &group()]);
        // By default a container may have more than whoever runs the tests may give.
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        run(command.args(labels.iter().flat_map(|label| ["--label", label])).arg(IMAGE));
        let output = podman(self.folder.path()).args(["inspect", "--format", "{{.State.Pid}}", name]).output();
        let text = String::from_utf8(output.expect("podman inspects").stdout).expect("a number");
        text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no process id"))
    }

    /// Ends a container and forgets it.
    pub fn remove(&self, name: &str) {
        run(podman(self.folder.path()).args(["rm", "--force", "--time", "0", name]));
    }
}

/// The cgroup around all containers.
fn group() -> String {
    format!("/profiler-test-podman-{}", std::process::id())
}

/// runc, as crun knows no host with both versions of cgroups.
fn podman(folder: &Path) -> Command {
    let mut command = Command::new("podman");
    for (flag, name) in [("--root", "storage"), ("--runroot", "state"), ("--tmpdir", "tmp")] {
        command.arg(flag).arg(folder.join(name));
    }
    command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
    command.args(["--runtime", "runc"]);
    command
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = podman(self.folder.path()).args(["rm", "--all", "--force", "--time", "0"]).output();
        let _ = self.service.kill();
        let _ = self.service.wait();
        // Podman leaves them; empty by now.
        let mut find = Command::new("find");
        find.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &format!("*{}*", group())]);
        let _ = find.args(["-exec", "rmdir", "{}", ";"]).output();
    }
}
