//! Images of single static programs, and of the agent.

use super::{Cluster, script};
use crate::agent;
use crate::workload::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the chart asks for without a registry, as containerd calls it.
const AGENT: &str = "docker.io/library/profiler-agent:0.1.0";

impl Cluster {
    /// Makes an image of one static program and imports it as `localhost/NAME:test`; its entry point is the program.
    pub fn import_program(&self, name: &str, program: &Path) {
        let place = format!("{}=/{name}", program.display());
        self.import_files(&format!("localhost/{name}:test"), &format!("/{name}"), &[place]);
    }

    /// Imports the agent: the image of `cargo xtask image` in the folder that `PROFILER_IMAGE` names, or else one of the
    /// program under test with the libraries that it is linked with. Says which.
    pub fn import_agent(&self) {
        if let Some(folder) = std::env::var_os("PROFILER_IMAGE").map(PathBuf::from) {
            eprintln!("cluster: the agent is the image in {}", folder.display());
            self.import(&folder.join(format!("profiler-agent-{}-oci.tar", env!("CARGO_PKG_VERSION"))));
            return;
        }
        let program = agent::binary();
        eprintln!("cluster: the agent is {}, with its libraries", program.display());
        let libraries = libraries(&program).into_iter().map(|path| format!("{path}={path}"));
        let files: Vec<String> =
            std::iter::once(format!("{}=/profiler-agent", program.display())).chain(libraries).collect();
        self.import_files(AGENT, "/profiler-agent", &files);
    }

    fn import_files(&self, reference: &str, entry_point: &str, files: &[String]) {
        let archive = self.run.join("image.tar");
        run(Command::new(script("image")).arg(&archive).args([reference, entry_point]).args(files));
        self.import(&archive);
        std::fs::remove_file(&archive).expect("the archive goes");
    }

    fn import(&self, archive: &Path) {
        let mut ctr = Command::new(self.kit.join("debian/usr/bin/ctr"));
        ctr.arg("--address").arg(self.run.join("containerd.sock")).args(["--namespace", "k8s.io", "images", "import"]);
        run(ctr.arg(archive));
    }
}

/// Shared libraries and the loader of a program, by their paths; none for a static one.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().expect("ldd starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    text.lines().filter_map(path).collect()
}
