//! A container engine as far as questions for names need one: Docker's list of containers on a socket of its own, on a
//! thread of its own.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What it does with questions.
#[derive(Clone, Debug)]
pub enum Says {
    /// Lists these containers, whatever it is asked for.
    Containers(Value),
    /// Nothing, and keeps the connection.
    Nothing,
    /// This status.
    Status(u16),
}

#[derive(Debug)]
struct State {
    says: Says,
    questions: Vec<String>,
    /// Connections that wait for an answer which never comes.
    kept: Vec<UnixStream>,
}

/// The engine; its socket is gone when dropped.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Listens as Docker does: root and the socket's group may ask.
    #[must_use]
    pub fn start(socket: &Path, says: Says) -> Self {
        let listener = UnixListener::bind(socket).expect("the engine's socket is free");
        std::os::unix::fs::chown(socket, None, Some(999)).expect("the socket has a group");
        std::fs::set_permissions(socket, PermissionsExt::from_mode(0o660)).expect("the socket has a mode");
        let state = Arc::new(Mutex::new(State { says, questions: Vec::new(), kept: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &shared);
            }
        });
        Self { socket: socket.to_owned(), state }
    }

    /// Says something else from now on.
    pub fn say(&self, says: Says) {
        let mut state = lock(&self.state);
        state.kept.clear();
        state.says = says;
    }

    /// What it was asked so far: the first line of each question.
    #[must_use]
    pub fn questions(&self) -> Vec<String> {
        lock(&self.state).questions.clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn answer(mut stream: UnixStream, state: &Mutex<State>) {
    let lines: Vec<String> =
        BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let Some(question) = lines.into_iter().next() else { return };
    let mut state = lock(state);
    state.questions.push(question);
    let (status, body) = match &state.says {
        Says::Containers(list) => (200, list.to_string()),
        Says::Status(status) => (*status, r#"{"message":"as it was told"}"#.to_owned()),
        Says::Nothing => return state.kept.push(stream),
    };
    let head =
        format!("HTTP/1.1 {status} Text\r\nServer: Docker/28.0 (linux)\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes());
}
