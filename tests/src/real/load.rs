//! A program under load: everything it consists of runs in a control group of its own and ends with it.

use crate::cgroup::{Group, Version};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long preparing or ending may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is put before a command that runs as nobody.
pub const AS_NOBODY: &[&str] = &["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];

/// Processes under load; killed when dropped.
pub struct Load {
    /// In the output.
    pub name: &'static str,
    /// They and their children, and nothing else.
    pub group: Group,
    /// Where they work; anybody may write there.
    pub folder: TempDir,
    children: Vec<Child>,
}

impl Load {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the workload");
        prepare(&["chmod", "1777", text(folder.path())]);
        Self { name, group: Group::new(Version::V2), folder, children: Vec::new() }
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).to_owned()
    }

    /// Writes a file of the folder; returns its path.
    #[must_use]
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{path}: {error}"));
        path
    }

    /// Starts a command in the group.
    pub fn start(&mut self, words: &[&str]) {
        let log = std::fs::File::create(self.path(&format!("log{}", self.children.len()))).expect("a log");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ > \"$0\"; exec \"$@\"", &format!("{}/cgroup.procs", self.group.as_str())]);
        shell.args(words).current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children.push(shell.spawn().unwrap_or_else(|error| panic!("{words:?}: {error}")));
    }

    /// Starts a line of shell that runs again and again.
    pub fn repeat(&mut self, line: &str) {
        self.start(&["sh", "-c", &format!("while :; do {line}; done")]);
    }

    /// Waits until a command succeeds.
    pub fn wait_for(&mut self, words: &[&str]) {
        let started = Instant::now();
        let mut probe = Command::new(words[0]);
        probe.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        while !probe.status().is_ok_and(|status| status.success()) {
            assert!(started.elapsed() < PATIENCE, "{words:?} does not succeed\n{}", self.logs());
            self.assert_running();
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Fails if one of the commands has ended.
    pub fn assert_running(&mut self) {
        let ended = self.children.iter_mut().find_map(|child| child.try_wait().ok().flatten());
        assert!(ended.is_none(), "{}: a command ended, {ended:?}\n{}", self.name, self.logs());
    }

    /// Lets nothing of the group run any more.
    pub fn freeze(&self) {
        let file = self.group.path.join("cgroup.freeze");
        std::fs::write(&file, "1").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Processes of the group now.
    #[must_use]
    pub fn pids(&self) -> Vec<String> {
        let pids = std::fs::read_to_string(self.group.path.join("cgroup.procs")).unwrap_or_default();
        pids.lines().map(str::to_owned).collect()
    }

    fn logs(&self) -> String {
        let log = |index| std::fs::read_to_string(self.path(&format!("log{index}"))).unwrap_or_default();
        (0..self.children.len()).map(log).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let started = Instant::now();
        let _ = std::fs::write(self.group.path.join("cgroup.freeze"), "0");
        while !self.pids().is_empty() && started.elapsed() < PATIENCE {
            let _ = Command::new("kill").arg("-KILL").args(self.pids()).stderr(Stdio::null()).status();
            for child in &mut self.children {
                let _ = child.kill();
                let _ = child.wait();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a command that must succeed.
pub fn prepare(words: &[&str]) {
    crate::workload::run(Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
