//! A TCP proxy that misbehaves as it is told, in front of a real server.

use crate::workload::free_port;
use rustix::net::sockopt::set_socket_linger;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a client that hold what a connection begins with and a part of its first request, never all of it: a window of
/// a second takes 1,200 and more.
const PART_OF_REQUEST: usize = 500;
/// The same of a server: its settings take 80, an answer 200.
const PART_OF_ANSWER: usize = 120;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing wrong.
    None,
    /// Nobody listens.
    Refuse,
    /// Accepts, reads, and says nothing.
    Hang,
    /// Accepts, and closes its own side at once.
    HalfClose,
    /// Lets one byte a second through to the server.
    Drip,
    /// Resets the connection in the middle of a request.
    ResetRequest,
    /// Lets requests through, and resets the connection in the middle of the answer.
    ResetAnswer,
    /// Answers with what is neither TLS nor HTTP.
    Garbage,
}

struct State {
    fault: Mutex<Fault>,
    /// Raised to end all connections made under an earlier fault.
    ended: Mutex<Arc<AtomicBool>>,
    server: String,
}

/// The proxy; it stops when dropped.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    listening: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Proxy {
    /// A faultless proxy in front of `server`, `host:port`.
    #[must_use]
    pub fn start(server: &str) -> Self {
        let state = State { fault: Mutex::new(Fault::None), ended: Mutex::default(), server: server.to_owned() };
        let mut proxy = Self { port: free_port(), state: Arc::new(state), listening: None };
        proxy.listen();
        proxy
    }

    /// The URL for `--endpoint`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on it does this; connections made before end.
    pub fn turn(&mut self, fault: Fault) {
        *lock(&self.state.fault) = fault;
        std::mem::take(&mut *lock(&self.state.ended)).store(true, Ordering::Relaxed);
        match (fault, self.listening.is_some()) {
            (Fault::Refuse, true) => self.deafen(),
            (Fault::Refuse, false) | (_, true) => {}
            (_, false) => self.listen(),
        }
    }

    fn listen(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the proxy's port is free");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let (stop, state) = (Arc::new(AtomicBool::new(false)), Arc::clone(&self.state));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let state = Arc::clone(&state);
                        std::thread::spawn(move || serve(&client, &state));
                    }
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        });
        self.listening = Some((stop, thread));
    }

    fn deafen(&mut self) {
        if let Some((stop, thread)) = self.listening.take() {
            stop.store(true, Ordering::Relaxed);
            thread.join().expect("the proxy's thread ends");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.state.ended).store(true, Ordering::Relaxed);
        self.deafen();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, until it ends or the proxy turns to something else.
fn serve(client: &TcpStream, state: &State) {
    let (fault, ended) = (*lock(&state.fault), Arc::clone(&lock(&state.ended)));
    client.set_nonblocking(false).expect("a stream that blocks");
    client.set_read_timeout(Some(LOOK)).expect("a stream that looks up");
    match fault {
        Fault::Hang => swallow(client, &ended),
        Fault::HalfClose => {
            let _ = client.shutdown(Shutdown::Write);
            swallow(client, &ended);
        }
        Fault::Garbage => {
            let _ = { client }.write_all(b"\x00\xffthis is neither TLS nor HTTP\r\n\r\n");
            swallow(client, &ended);
        }
        _ => forward(client, fault, &state.server, &ended),
    }
}

/// Reads and forgets.
fn swallow(mut client: &TcpStream, ended: &AtomicBool) {
    let mut bytes = [0; 4096];
    while !ended.load(Ordering::Relaxed) {
        match client.read(&mut bytes) {
            Ok(0) => break,
            Err(error) if !is_pause(&error) => break,
            _ => {}
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn forward(client: &TcpStream, fault: Fault, server: &str, ended: &AtomicBool) {
    let Ok(upstream) = TcpStream::connect(server) else { return };
    upstream.set_read_timeout(Some(LOOK)).expect("a stream that looks up");
    let broken = AtomicBool::new(false);
    let over = || ended.load(Ordering::Relaxed) || broken.load(Ordering::Relaxed);
    let copy = |from, to, limit, drip| {
        if !pump(from, to, limit, drip, &over) {
            broken.store(true, Ordering::Relaxed);
        }
    };
    let limit = |of: Fault, bytes| if fault == of { bytes } else { usize::MAX };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(client, &upstream, limit(Fault::ResetRequest, PART_OF_REQUEST), fault == Fault::Drip));
        copy(&upstream, client, limit(Fault::ResetAnswer, PART_OF_ANSWER), false);
    });
    if broken.load(Ordering::Relaxed) {
        // Closing then resets the connection.
        let _ = set_socket_linger(client, Some(Duration::ZERO));
        let _ = set_socket_linger(&upstream, Some(Duration::ZERO));
    }
}

/// Copies until the end of the stream, which it passes on; false when it ended because more than so many bytes came.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut limit: usize, drip: bool, over: &dyn Fn() -> bool) -> bool {
    let mut bytes = [0; 16_384];
    let step = if drip { 1 } else { bytes.len() };
    while !over() {
        let read = match from.read(&mut bytes[..step]) {
            Ok(read) => read,
            Err(error) if is_pause(&error) => continue,
            Err(_) => 0,
        };
        if read == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return true;
        }
        let pass = read.min(limit);
        limit -= pass;
        if to.write_all(&bytes[..pass]).is_err() {
            return true;
        }
        if pass < read {
            return false;
        }
        if drip {
            pause(Duration::from_secs(1), over);
        }
    }
    true
}

fn pause(time: Duration, over: &dyn Fn() -> bool) {
    let steps = time.as_millis() / LOOK.as_millis();
    (0..steps).take_while(|_| !over()).for_each(|_| std::thread::sleep(LOOK));
}
