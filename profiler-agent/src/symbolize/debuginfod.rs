//! Debug info from a debuginfod server, where the user has named one.
//!
//! Nobody waits for it: a build ID is asked for on a thread of its own, once, and what came is there in a later window.
//! Answers are kept in a folder of bounded size. The protocol is that of elfutils: `GET URL/buildid/HEX/debuginfo`.

mod cache;
mod client;

use super::debuginfo;
use crate::confine::{self, Rules};
use crate::export::Endpoint;
use crate::telemetry::metrics::{Metric, Metrics};
use anyhow::Context as _;
use cache::Cache;
use client::{Answer, Client};
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Build IDs that wait; what is more is asked for in a later window.
const MAX_WAITING: usize = 256;
/// Build IDs remembered that the servers do not have; beyond that, all are forgotten.
const MAX_ABSENT: usize = 65_536;
/// How long a server that has no answer is believed.
const ABSENT: Duration = Duration::from_secs(3600);
/// How long nobody is asked again after a failure.
const FAILED: Duration = Duration::from_secs(300);
/// Bytes of all answers kept.
const MAX_CACHE_BYTES: u64 = 2 << 30;
/// Digits of a build ID: a byte is too short to mean anything, 64 bytes are the most there are.
const BUILD_ID_DIGITS: std::ops::RangeInclusive<usize> = 8..=128;

/// Servers send requests on to where packages are kept.
const HTTPS_PORT: u16 = 443;

/// How we call ourselves.
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// What to ask, and where to keep it.
#[derive(Clone, Debug)]
pub struct DebuginfodOptions {
    /// Servers in order of preference.
    pub urls: Vec<Endpoint>,
    /// PEM file of certificate authorities that are trusted besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// Folder of the answers.
    pub folder: PathBuf,
}

impl DebuginfodOptions {
    /// The agent's own folder below `$XDG_CACHE_HOME`, else below `/var/cache`.
    #[must_use]
    pub fn default_folder() -> PathBuf {
        let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        home.unwrap_or_else(|| PathBuf::from("/var/cache")).join("profiler-agent/debuginfod")
    }
}

/// What is known of a build ID's debug info.
#[derive(Debug)]
pub enum DebugFile {
    /// Here it is.
    Found(File),
    /// It has been asked for.
    Asked,
    /// No server has it, or none answers.
    Absent,
}

enum State {
    Asked,
    Absent { until: Instant },
}

/// What the thread shares with those who ask.
struct Shared {
    cache: Cache,
    states: Mutex<HashMap<String, State>>,
    metrics: Arc<Metrics>,
}

/// Asks servers in the background.
pub struct Debuginfod {
    wanted: SyncSender<String>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Debuginfod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Debuginfod")
    }
}

impl Debuginfod {
    /// Makes the folder and starts the thread; it ends with the last of those who ask.
    ///
    /// # Errors
    /// The folder cannot be made or is open to others; a certificate cannot be read; there is no thread to be had.
    pub fn start(options: &DebuginfodOptions, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let folder = options.folder.display();
        let cache = Cache::open(&options.folder, MAX_CACHE_BYTES)
            .with_context(|| format!("cannot keep debug info in {folder}: set XDG_CACHE_HOME to another folder"))?;
        let client = Client::new(&options.urls, options.ca_file.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared { cache, states: Mutex::default(), metrics });
        let (wanted, asked) = sync_channel(MAX_WAITING);
        let of_thread = Arc::clone(&shared);
        let rules = Rules {
            folders: vec![options.folder.clone()],
            connect_ports: options.urls.iter().map(Endpoint::port).chain([HTTPS_PORT]).collect(),
            bind_ports: Vec::new(),
        };
        let body = move || {
            confine::network_thread(&rules);
            of_thread.serve(&asked, &client, &runtime);
        };
        std::thread::Builder::new().name("debuginfod".into()).spawn(body).context("cannot start a thread")?;
        Ok(Self { wanted, shared })
    }

    /// The debug info of a build ID in hexadecimal; does not wait, but for the disk.
    #[must_use]
    pub fn debug_file(&self, build_id: &str) -> DebugFile {
        if !is_build_id(build_id) {
            return DebugFile::Absent;
        }
        let mut states = self.shared.states();
        match states.get(build_id) {
            Some(State::Asked) => return DebugFile::Asked,
            Some(State::Absent { until }) if *until > Instant::now() => return DebugFile::Absent,
            _ => {}
        }
        if let Some(file) = self.shared.cache.get(build_id) {
            return DebugFile::Found(file);
        }
        match self.wanted.try_send(build_id.to_owned()) {
            Ok(()) => _ = states.insert(build_id.to_owned(), State::Asked),
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return DebugFile::Absent,
        }
        DebugFile::Asked
    }
}

impl Shared {
    fn states(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, asked: &Receiver<String>, client: &Client, runtime: &tokio::runtime::Runtime) {
        let mut down_until = Instant::now();
        for build_id in asked {
            let answer = match down_until > Instant::now() {
                true => Answer::Unreachable,
                false => self.fetch(&build_id, client, runtime),
            };
            self.note(build_id, &answer);
            if answer == Answer::Unreachable && down_until <= Instant::now() {
                down_until = Instant::now() + FAILED / 10;
                tracing::warn!("no debuginfod server can be reached, keeps trying");
            }
        }
    }

    fn fetch(&self, build_id: &str, client: &Client, runtime: &tokio::runtime::Runtime) -> Answer {
        let Ok(mut part) = self.cache.part() else { return Answer::Failed };
        let answer = runtime.block_on(client.fetch(build_id, &mut part));
        if answer != Answer::Found {
            return answer;
        }
        if debuginfo::build_id(&part).as_deref() != Some(build_id) {
            return Answer::Mismatch;
        }
        if self.cache.put(build_id).is_err() { Answer::Failed } else { answer }
    }

    fn note(&self, build_id: String, answer: &Answer) {
        self.metrics.add(Metric::DebuginfodRequests, answer.label(), 1);
        let mut states = self.states();
        let believed = match answer {
            Answer::Found => {
                states.remove(&build_id);
                return;
            }
            Answer::Absent | Answer::Mismatch | Answer::TooLarge => ABSENT,
            Answer::Failed | Answer::Unreachable => FAILED,
        };
        if states.len() > MAX_ABSENT {
            states.retain(|_, state| matches!(state, State::Asked));
        }
        states.insert(build_id, State::Absent { until: Instant::now() + believed });
    }
}

fn is_build_id(text: &str) -> bool {
    BUILD_ID_DIGITS.contains(&text.len())
        && text.len().is_multiple_of(2)
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
