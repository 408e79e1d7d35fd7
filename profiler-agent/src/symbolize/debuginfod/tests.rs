use super::*;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

type Script = Box<dyn Fn(&str) -> Vec<u8> + Send>;

/// Answers every request with the same bytes, or by its path.
struct Server {
    url: Endpoint,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap()).parse().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                respond(&mut stream.unwrap(), &answer);
            }
        });
        Self { url, requests }
    }
}

fn respond(stream: &mut TcpStream, answer: &impl Fn(&str) -> Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let _ = stream.write_all(&answer(head.split(' ').nth(1).unwrap()));
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).as_bytes(), body]
        .concat()
}

fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The C library, and its build ID.
fn library() -> (Vec<u8>, String) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps.lines().find(|line| line.contains("/libc")).unwrap().rsplit(' ').next().unwrap();
    let build_id = debuginfo::build_id(&File::open(library).unwrap()).expect("the C library has a build ID");
    (std::fs::read(library).unwrap(), build_id)
}

struct Asking {
    debuginfod: Debuginfod,
    metrics: Arc<Metrics>,
    folder: tempfile::TempDir,
}

fn asking(urls: &[&Endpoint]) -> Asking {
    let (folder, metrics) = (tempfile::tempdir().unwrap(), Arc::<Metrics>::default());
    let urls = urls.iter().map(|&url| url.clone()).collect();
    let options = DebuginfodOptions { urls, ca_file: None, folder: folder.path().join("cache") };
    let debuginfod = Debuginfod::start(&options, Arc::clone(&metrics)).unwrap();
    Asking { debuginfod, metrics, folder }
}

impl Asking {
    /// What is known in the end.
    fn settled(&self, build_id: &str) -> DebugFile {
        let mut known = self.debuginfod.debug_file(build_id);
        assert!(matches!(known, DebugFile::Asked | DebugFile::Found(_)), "nobody waits: {known:?}");
        for _ in 0..3000 {
            if !matches!(known, DebugFile::Asked) {
                return known;
            }
            std::thread::sleep(Duration::from_millis(10));
            known = self.debuginfod.debug_file(build_id);
        }
        panic!("{build_id} is asked for and never known");
    }

    fn count(&self, outcome: &'static str) -> f64 {
        self.metrics.get(Metric::DebuginfodRequests, outcome)
    }
}

#[test]
fn what_a_server_has_is_asked_for_once_and_kept() {
    let (file, build_id) = library();
    let path = format!("/base/buildid/{build_id}/debuginfo");
    let length = file.len() as u64;
    let server = Server::new(move |asked| if asked == path { ok(&file) } else { status("404 Not Found") });
    let asking = asking(&[&server.url]);
    let DebugFile::Found(found) = asking.settled(&build_id) else { panic!("not found") };
    assert_eq!(found.metadata().unwrap().len(), length);
    assert!(matches!(asking.settled(&build_id), DebugFile::Found(_)));
    let other = "00".repeat(20);
    assert!(matches!(asking.settled(&other), DebugFile::Absent));
    assert!(matches!(asking.debuginfod.debug_file(&other), DebugFile::Absent), "remembered");
    assert_eq!((server.requests.load(Ordering::Relaxed), asking.count("found"), asking.count("absent")), (2, 1.0, 1.0));
    // Another run finds it in the folder, without a server.
    let nobody = "http://127.0.0.1:9".parse().unwrap();
    let options = DebuginfodOptions { urls: vec![nobody], ca_file: None, folder: asking.folder.path().join("cache") };
    let again = Debuginfod::start(&options, Arc::default()).unwrap();
    assert!(matches!(again.debug_file(&build_id), DebugFile::Found(_)));
}

#[test]
fn the_next_server_is_asked_for_what_the_first_does_not_have() {
    let (file, build_id) = library();
    let first = Server::new(|_| status("500 Internal Server Error"));
    let second = Server::new(move |_| ok(&file));
    assert!(matches!(asking(&[&first.url, &second.url]).settled(&build_id), DebugFile::Found(_)));
}

#[test]
fn hostile_answers_are_refused() {
    let (file, build_id) = library();
    let other_id = "ab".repeat(20);
    let wrong = file.clone();
    let cases: [(&str, Script, &str); 7] = [
        ("mismatch", Box::new(move |_| ok(&wrong)), &other_id),
        ("mismatch", Box::new(|_| ok(b"no ELF file")), &build_id),
        ("failed", Box::new(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec()), &build_id),
        ("failed", Box::new(|_| b"nonsense".to_vec()), &build_id),
        ("failed", Box::new(|_| status("302 Found\r\nLocation: file:///etc/passwd")), &build_id),
        ("failed", Box::new(|path| status(&format!("302 Found\r\nLocation: {path}"))), &build_id),
        ("too_large", Box::new(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec()), &build_id),
    ];
    for (outcome, answer, build_id) in cases {
        let server = Server::new(answer);
        let asking = asking(&[&server.url]);
        assert!(matches!(asking.settled(build_id), DebugFile::Absent), "{outcome}");
        assert_eq!(asking.count(outcome), 1.0, "{outcome}");
        let kept = std::fs::read_dir(asking.folder.path().join("cache")).unwrap();
        let kept = kept.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "debug"));
        assert_eq!(kept.count(), 0, "{outcome}");
    }
}

/// Without a length the size shows only as it comes.
#[test]
fn a_body_without_end_is_cut() {
    let server = Server::new(|_| [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &vec![0; 100_000]].concat());
    let client = Client::new(std::slice::from_ref(&server.url), None).unwrap().with_max_body_bytes(50_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    assert_eq!(runtime.block_on(client.fetch("abcd", &mut file)), Answer::TooLarge);
    assert!(file.metadata().unwrap().len() <= 50_000);
}

#[test]
fn a_redirect_within_the_scheme_is_followed() {
    let (file, build_id) = library();
    let server = Server::new(move |path| match path {
        "/elsewhere" => ok(&file),
        _ => status("307 Temporary Redirect\r\nLocation: /elsewhere"),
    });
    assert!(matches!(asking(&[&server.url]).settled(&build_id), DebugFile::Found(_)));
}

#[test]
fn what_is_no_build_id_is_never_asked_for() {
    let server = Server::new(|_| status("404 Not Found"));
    let asking = asking(&[&server.url]);
    let long = "a".repeat(130);
    for text in ["", "ab", "abcdefg0", "ABCDEF00", "abcdef001", "../../../etc/passwd", "abcdef00\n", &long] {
        assert!(matches!(asking.debuginfod.debug_file(text), DebugFile::Absent), "{text:?}");
    }
    assert_eq!(server.requests.load(Ordering::Relaxed), 0);
}

#[test]
fn an_unreachable_server_is_not_asked_again_and_again() {
    let nobody = "http://127.0.0.1:9".parse().unwrap();
    let asking = asking(&[&nobody]);
    for index in 0..5 {
        assert!(matches!(asking.settled(&format!("{index:08x}")), DebugFile::Absent));
    }
    assert_eq!(asking.count("unreachable"), 5.0);
}
