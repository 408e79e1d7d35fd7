//! The agent as a user runs it: the built binary, its output, its metrics.

use crate::workload::{free_port, http_get};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the agent may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test: `PROFILER_AGENT`, else the debug build next to this test.
#[must_use]
pub fn binary() -> PathBuf {
    built("PROFILER_AGENT", "cargo build -p profiler-agent")
}

/// The build that loses one record where `PROFILER_LOSE` says: `PROFILER_AGENT_LOSE`.
#[must_use]
pub fn losing_binary() -> PathBuf {
    built("PROFILER_AGENT_LOSE", "cargo xtask test")
}

fn built(variable: &str, how: &str) -> PathBuf {
    let default = std::env::current_exe().ok().and_then(|test| Some(test.ancestors().nth(2)?.join("profiler-agent")));
    let path = std::env::var_os(variable).map(PathBuf::from).or(default.filter(|_| variable == "PROFILER_AGENT"));
    let path = path.unwrap_or_else(|| panic!("{variable} names no agent: build it with `{how}`"));
    assert!(path.exists(), "no agent at {}: build it with `{how}`", path.display());
    path
}

/// A running `profiler-agent run`; killed when dropped.
pub struct Agent {
    child: Child,
    /// Where its page listens.
    pub address: String,
    stderr: Option<JoinHandle<String>>,
}

impl Agent {
    /// `run` with these arguments and a free port for the page.
    #[must_use]
    pub fn run(arguments: &[&str]) -> Self {
        Self::start(Command::new(binary()).arg("run").args(arguments))
    }

    /// Any prepared `run` command; `--listen` is added.
    pub fn start(command: &mut Command) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut child = command
            .args(["--listen", &address])
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let mut stderr = child.stderr.take().expect("its standard error is piped");
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut agent = Self { child, address, stderr: Some(reader) };
        agent.wait_until_up();
        agent
    }

    fn wait_until_up(&mut self) {
        let started = Instant::now();
        while http_get(&format!("{}/healthz", self.address)).is_none_or(|(status, _)| status != 200) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the agent ended at once ({status}):\n{}", self.collect_stderr());
            }
            assert!(started.elapsed() < PATIENCE, "the agent does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Files that it has open.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the agent runs").count()
    }

    /// Body of a page that must be there.
    #[must_use]
    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.get_any(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Status and body of a page.
    #[must_use]
    pub fn get_any(&self, path: &str) -> (u16, String) {
        http_get(&format!("{}{path}", self.address)).unwrap_or_else(|| panic!("no answer to {path}"))
    }

    /// The metrics now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics"))
    }

    /// SIGTERM, then its exit status and everything it wrote to standard error.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal("-TERM");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the agent can be waited for") {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "the agent does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        (status, self.collect_stderr())
    }

    /// Sends a signal such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal} failed");
    }

    fn collect_stderr(&mut self) -> String {
        self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the agent said:\n{}", self.collect_stderr());
        }
    }
}

/// Parsed `/metrics`: value by name with labels, as in the text.
#[derive(Clone, Debug)]
pub struct Metrics(pub BTreeMap<String, f64>);

impl Metrics {
    /// From the Prometheus text format.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|text| !text.starts_with('#')).filter_map(line).collect())
    }

    /// One value; 0 when it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// All values of a name, whatever the labels.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let of_name = |key: &&String| key.as_str() == name || key.starts_with(&format!("{name}{{"));
        self.0.iter().filter(|(key, _)| of_name(key)).map(|(_, value)| value).sum()
    }

    /// Samples taken.
    #[must_use]
    pub fn taken(&self) -> f64 {
        self.get("profiler_samples_taken_total")
    }

    /// The ledger's equation: taken minus all other terms; 0 when it holds.
    #[must_use]
    pub fn imbalance(&self) -> f64 {
        self.taken()
            - self.get("profiler_samples_exported_total")
            - self.get("profiler_samples_spooled")
            - self.get("profiler_samples_pending")
            - self.sum("profiler_samples_dropped_total")
    }

    /// Fails unless the ledger balances.
    pub fn assert_balance(&self) {
        assert!(self.0.contains_key("profiler_samples_taken_total"), "no ledger in the metrics");
        assert!(self.imbalance() == 0.0, "the ledger is off by {}: {:#?}", self.imbalance(), self.0);
    }
}

/// The ledger as `record` and the log at exit print it:
/// `N samples taken = N exported + N spooled + N pending + N dropped`. Returns these five numbers.
#[must_use]
pub fn ledger_line(stderr: &str) -> [u64; 5] {
    let line = stderr.lines().rev().find(|line| line.contains("samples taken =")).expect("a ledger line");
    let after = |text: &str, what: &str| -> u64 {
        let before = text.split(what).next().unwrap_or_default().trim();
        let digits: String = before.chars().rev().take_while(char::is_ascii_digit).collect();
        digits.chars().rev().collect::<String>().parse().unwrap_or_else(|_| panic!("no number before {what}: {line}"))
    };
    [" samples taken", " exported", " spooled", " pending", " dropped"].map(|what| after(line, what))
}
