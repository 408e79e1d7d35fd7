//! Programs that burn CPU in known functions and say how much.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Sources, next to this crate's manifest.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(name)
}

/// Compiles a C source into `folder`; returns the program.
#[must_use]
pub fn compile_c(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = folder.join(name.trim_end_matches(".c"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-g0", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-pthread", "-o"]);
    run(gcc.arg(&program).arg(source(name)).args(flags));
    program
}

/// Compiles plugin.c into `folder` with a function of this name under its `plugin_burn`; returns the library.
#[must_use]
pub fn compile_plugin(folder: &Path, inner: &str) -> PathBuf {
    let library = folder.join(inner).with_extension("so");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-g0", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-shared", "-fPIC"]);
    run(gcc.arg(format!("-DINNER={inner}")).arg("-o").arg(&library).arg(source("plugin.c")));
    library
}

/// Compiles a Rust source into `folder`; returns the program.
#[must_use]
pub fn compile_rust(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name.trim_end_matches(".rs"));
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-Copt-level=2", "-Cforce-frame-pointers=yes", "-o"]);
    run(rustc.arg(&program).arg(source(name)));
    program
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A started program; killed when dropped.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a program with its standard output piped.
    #[must_use]
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(program).args(arguments))
    }

    /// Starts a program that is held before its first instruction, until [`Running::go_on`].
    #[must_use]
    pub fn held(program: &Path, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let held = Self::spawn(shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(program).args(arguments));
        let stat = format!("/proc/{}/stat", held.pid());
        let stopped = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "));
        let started = Instant::now();
        while !stopped() {
            assert!(started.elapsed() < Duration::from_secs(30), "the workload does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        held
    }

    /// Lets a held program run.
    pub fn go_on(&self) {
        run(Command::new("kill").args(["-CONT", &self.pid().to_string()]));
    }

    /// Starts a prepared command with its standard output piped.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the workload starts");
        Self { child }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then the JSON that the program prints about itself at its end.
    #[must_use]
    pub fn finish(mut self) -> serde_json::Value {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        self.wait()
    }

    /// Waits for its end and reads the JSON that it prints; that of the last line for one that printed several.
    pub fn wait(&mut self) -> serde_json::Value {
        self.wait_all().pop().expect("the workload prints JSON")
    }

    /// Waits for its end and reads all JSON that it prints, a value a line.
    pub fn wait_all(&mut self) -> Vec<serde_json::Value> {
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().expect("its standard output is piped");
        stdout.read_to_string(&mut text).expect("its output can be read");
        let status = self.child.wait();
        assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "the workload ended with {status:?}");
        json_lines(&text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The values of a text of JSON, a value a line.
#[must_use]
pub fn json_lines(text: &str) -> Vec<serde_json::Value> {
    let value =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the workload's output: {text}"));
    text.lines().map(value).collect()
}

/// A port of loopback that nobody listens on.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Status and body of `host:port/path` over plain HTTP; none when nobody answers.
#[must_use]
pub fn http_get(url: &str) -> Option<(u16, String)> {
    let (address, path) = url.split_once('/')?;
    http(address, &format!("GET /{path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"), b"")
}

/// Status and body of a POST of JSON over plain HTTP.
#[must_use]
pub fn http_post_json(address: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    http(address, &head, body.as_bytes())
}

fn http(address: &str, head: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
