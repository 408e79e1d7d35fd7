//! What the engines would tell, for people.

use super::ask::ask;
use super::listing::Described;
use super::problem::Problem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of no container.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What came of asking one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it was asked.
    pub(crate) socket: PathBuf,
    /// What it calls itself, and the container if it knows it; or why it does not tell.
    pub(crate) told: Result<(String, Option<Described>), Problem>,
}

impl Found {
    /// Whether there is nobody to ask.
    pub(crate) fn is_absent(&self) -> bool {
        self.told == Err(Problem::Absent)
    }
}

/// Asks each engine for a container that there is not, as the agent would ask for one.
pub(crate) fn probe(sockets: &[PathBuf]) -> std::io::Result<Vec<Found>> {
    look_up(sockets, NOBODY)
}

/// Asks each engine for one container.
pub(crate) fn look_up(sockets: &[PathBuf], id: &str) -> std::io::Result<Vec<Found>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let id = Arc::from(id);
    Ok(sockets.iter().map(|socket| runtime.block_on(one(socket, &id))).collect())
}

async fn one(socket: &Path, id: &Arc<str>) -> Found {
    let asked = ask(socket, std::slice::from_ref(id)).await;
    let told = asked.map(|answer| (answer.server, answer.containers.into_iter().next()));
    Found { socket: socket.to_owned(), told }
}
