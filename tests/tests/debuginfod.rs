//! Debug info that the host does not have, from a debuginfod server.

use flate2::read::GzDecoder;
use profiler_tests::agent::{Agent, binary};
use profiler_tests::page_api::{functions, wait_for, wait_for_function};
use profiler_tests::workload::{Running, compile_c, run};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Has one file, under one build ID.
struct Server {
    url: String,
    /// Requests for that file, and for others.
    requests: Arc<[AtomicUsize; 2]>,
    /// Held while nobody gets that file.
    gate: Arc<Mutex<()>>,
}

impl Server {
    fn start(build_id: &str, file: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, gate) = (Arc::<[AtomicUsize; 2]>::default(), Arc::<Mutex<()>>::default());
        let (counted, closed) = (Arc::clone(&requests), Arc::clone(&gate));
        let (path, body) = (format!("/buildid/{build_id}/debuginfo"), std::fs::read(file).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let has = asked(&mut stream) == path;
                counted[usize::from(!has)].fetch_add(1, Ordering::Relaxed);
                let _open = has.then(|| closed.lock());
                let (status, body) = if has { ("200 OK", &body[..]) } else { ("404 Not Found", &[][..]) };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
            }
        });
        Self { url, requests, gate }
    }

    fn requests_for_it(&self) -> usize {
        self.requests[0].load(Ordering::Relaxed)
    }
}

/// The path of a request.
fn asked(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "a whole request");
        head.extend(byte);
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// The body of an answer that is no text.
fn download(agent: &Agent, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(&agent.address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", agent.address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"));
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    answer.split_off(head + 4)
}

/// burn.c without symbols, its debug info, and its build ID.
fn stripped(folder: &Path, name: &str) -> (PathBuf, PathBuf, String) {
    let (program, debug) = (folder.join(name), folder.join("apart.debug"));
    std::fs::rename(compile_c(folder, "burn.c", &["-g", "-Wl,--build-id"]), &program).unwrap();
    run(Command::new("objcopy").arg("--only-keep-debug").arg(&program).arg(&debug));
    run(Command::new("strip").arg("--strip-all").arg(&program));
    let notes = Command::new("readelf").arg("-n").arg(&program).output().unwrap();
    let notes = String::from_utf8(notes.stdout).unwrap();
    let build_id = notes.split("Build ID: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    (program, debug, build_id)
}

/// It looks at one process: reading the debug info of all others takes time that this is not about.
fn agent(url: &str, cache: &Path, of: &Running) -> Agent {
    let mut command = Command::new(binary());
    command.args(["run", "--frequency", "99", "--interval", "1s", "--pid", &of.pid().to_string(), "--debuginfod", url]);
    Agent::start(command.env("XDG_CACHE_HOME", cache))
}

/// The first windows have to do without; nobody waits.
#[test]
fn a_stripped_program_gets_names_and_lines_later() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let (program, debug, build_id) = stripped(folder.path(), "stripped");
    let server = Server::start(&build_id, &debug);
    let running = Running::start(&program, &[]);
    let cache = folder.path().join("cache");
    let closed = server.gate.lock().unwrap();
    let first = agent(&server.url, &cache, &running);
    wait_for_function(&first, "stripped", |function| function.name.starts_with("stripped+0x"));
    drop(closed);
    for name in ["alpha", "beta", "gamma_", "work", "main"] {
        wait_for(&first, "stripped", name);
    }
    assert_eq!(server.requests_for_it(), 1);
    assert!(first.metrics().get("profiler_debuginfod_requests_total{outcome=\"found\"}") >= 1.0);
    first.metrics().assert_balance();
    let mut pprof = Vec::new();
    GzDecoder::new(&download(&first, "/download.pb.gz?service=stripped&from=now-1h")[..])
        .read_to_end(&mut pprof)
        .unwrap();
    assert!(pprof.windows(6).any(|window| window == b"burn.c"), "lines have a source file");
    let (status, log) = first.stop();
    assert!(status.success(), "{log}");

    // The next agent has it on disk from the beginning.
    let second = agent(&server.url, &cache, &running);
    wait_for(&second, "stripped", "alpha");
    let found = functions(&second, "stripped", "now-1h");
    assert!(!found.iter().any(|function| function.name.starts_with("stripped+0x")), "{found:#?}");
    assert_eq!(server.requests_for_it(), 1);
}

/// Symbol tables name what they can; the agent is none the worse for it.
#[test]
fn a_server_that_is_not_there_harms_nobody() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "burn.c", &[]);
    let running = Running::start(&program, &[]);
    let agent = agent("http://127.0.0.1:9", &folder.path().join("cache"), &running);
    wait_for(&agent, "burn", "alpha");
    wait_for(&agent, "burn", "main");
    agent.metrics().assert_balance();
    let (status, log) = agent.stop();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("no debuginfod server can be reached").count(), 1, "{log}");
}
