//! A `PostgreSQL` server of its own under load: a temporary cluster on a socket in its folder, owned by nobody.

use super::Running;
use crate::shell::{command, output};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where Debian puts the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The server refuses to run as root.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
const SQL: &str = include_str!("../../../tests/workloads/pgbench.sql");

/// The running server and what keeps it busy; both end with this, and their folder is removed.
pub(super) struct Postgres {
    bin: PathBuf,
    folder: PathBuf,
    /// Dropped before the server is stopped.
    client: Option<Running>,
    server: Option<Running>,
}

impl Postgres {
    /// Starts it; none where it is not installed.
    ///
    /// # Errors
    /// It is installed and does not work.
    pub(super) fn start() -> Result<Option<Self>> {
        let Some(bin) = newest_bin() else { return Ok(None) };
        let folder = output(&mut as_nobody("mktemp", &["--directory", "--tmpdir", "profiler-bench-XXXXXX"]))?;
        let mut postgres = Self { bin, folder: PathBuf::from(folder.trim()), client: None, server: None };
        postgres.run()?;
        Ok(Some(postgres))
    }

    fn run(&mut self) -> Result<()> {
        let (data, folder) = (self.data(), self.folder.to_string_lossy().into_owned());
        self.tool("initdb", &["--no-sync", "--username=nobody", "--locale=C", "--pgdata", &data])?;
        let settings = ["-D", &data, "-k", &folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "jit=off"];
        self.server = Some(Running::spawn(&mut self.as_nobody("postgres", &settings))?);
        let client = ["-h", &folder, "-U", "nobody"];
        self.wait_for("pg_isready", &[&client[..], &["-d", "postgres"]].concat())?;
        self.tool("pgbench", &[&client[..], &["--initialize", "--quiet", "--scale=1", "postgres"]].concat())?;
        let script = self.folder.join("work.sql").to_string_lossy().into_owned();
        fs::write(&script, SQL).with_context(|| format!("cannot write {script}"))?;
        let work =
            ["--time=3600", "--no-vacuum", "--builtin=tpcb-like@5", "--file", &format!("{script}@1"), "postgres"];
        self.client = Some(Running::spawn(&mut self.as_nobody("pgbench", &[&client[..], &work].concat()))?);
        Ok(())
    }

    fn data(&self) -> String {
        self.folder.join("data").to_string_lossy().into_owned()
    }

    fn as_nobody(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = as_nobody(&self.bin.join(tool).to_string_lossy(), args);
        command.current_dir(&self.folder);
        command
    }

    fn tool(&self, tool: &str, args: &[&str]) -> Result<()> {
        output(&mut self.as_nobody(tool, args)).map(drop)
    }

    fn wait_for(&self, tool: &str, args: &[&str]) -> Result<()> {
        let started = Instant::now();
        while let Err(error) = self.tool(tool, args) {
            if started.elapsed() > PATIENCE {
                return Err(error.context("the server of the benchmark does not answer"));
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.client.take();
        // A server that is killed leaves its own processes behind for a while.
        let _ = self.tool("pg_ctl", &["stop", "--mode=immediate", "--silent", "--pgdata", &self.data()]);
        self.server.take();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn as_nobody(program: &str, args: &[&str]) -> Command {
    let words = AS_NOBODY.iter().chain([&program]).chain(args);
    let words: Vec<&str> = words.copied().collect();
    command(words[0], &words[1..])
}

/// The programs of the newest version that is installed.
fn newest_bin() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let folders = fs::read_dir(VERSIONS).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let usable = folders.filter(|path| path.join("bin/postgres").exists() && path.join("bin/pgbench").exists());
    Some(usable.max_by_key(|path| version(path))?.join("bin"))
}
