//! Engines at real sockets that answer as they are told.

use super::ask::{Answer, ask};
use super::problem::Problem;
use super::{Described, Engines, Store};
use crate::container::Container;
use crate::telemetry::metrics::{Metric, Metrics};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REMEMBER: Duration = Duration::from_secs(300);

fn id(digit: char) -> Arc<str> {
    Arc::from(digit.to_string().repeat(64))
}

fn inside(digits: &str) -> Container {
    Container { ids: digits.chars().map(id).collect(), pod_uid: None }
}

fn shop() -> Described {
    Described { id: id('a'), name: Some("shop".into()), ..Described::default() }
}

/// An engine that says this to everybody who asks; what it was asked is given back.
fn engine(socket: &Path, says: impl Fn(&str, &mut UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut asked) = (stream.unwrap(), Vec::new());
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                asked.push(byte[0]);
            }
            says(&String::from_utf8_lossy(&asked), &mut stream);
        }
    });
}

fn say(stream: &mut UnixStream, status: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nServer: Docker/28.0 (linux)\r\nContent-Length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes());
}

/// What is made of one answer.
fn asked(says: impl Fn(&str, &mut UnixStream) + Send + 'static) -> Result<Answer, Problem> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    engine(&socket, says);
    ask_now(&socket, &[id('a')])
}

fn ask_now(socket: &Path, ids: &[Arc<str>]) -> Result<Answer, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(socket, ids))
}

#[test]
fn only_what_is_asked_for_is_taken() {
    let told = asked(|request, stream| {
        let id = id('a');
        let wanted = format!("GET /containers/json?all=true&filters=%7B%22id%22%3A%5B%22{id}%22%5D%7D HTTP/1.1\r\n");
        assert!(request.starts_with(&wanted), "{request}");
        say(stream, "200 OK", &format!(r#"[{{"Id":"{}"}},{{"Id":"{id}","Names":["/shop"]}}]"#, "b".repeat(64)));
    });
    assert_eq!(told, Ok(Answer { server: "Docker/28.0 (linux)".into(), containers: vec![shop()] }));
}

#[test]
fn every_lie_is_a_problem_with_a_name() {
    let label = |says: fn(&str, &mut UnixStream)| asked(says).unwrap_err().label();
    assert_eq!(label(|_, stream| say(stream, "200 OK", "{}")), "malformed");
    assert_eq!(label(|_, stream| say(stream, "200 OK", &" ".repeat((1 << 20) + 1))), "too_large");
    assert_eq!(label(|_, stream| drop(stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n"))), "malformed");
    assert_eq!(label(|_, stream| drop(stream.write_all(&[b'x'; 100_000]))), "malformed");
    // A head, and less of a body than it says.
    assert_eq!(
        label(|_, stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]"))),
        "malformed"
    );
    assert_eq!(label(|_, _| {}), "unreachable");
    let refused = asked(|_, stream| say(stream, "500 Oops", "{\"message\":\"no\u{1b}\"}"));
    assert_eq!(refused, Err(Problem::Refused("500: {\"message\":\"no \"}".into())));
}

#[test]
fn an_engine_that_says_nothing_is_left_after_five_seconds() {
    let begun = Instant::now();
    let late = asked(|_, _| std::thread::sleep(Duration::from_secs(60)));
    assert_eq!(late, Err(Problem::Late(Duration::from_secs(5))));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_socket_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    assert_eq!(ask_now(&socket, &[id('a')]), Err(Problem::Absent));
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(ask_now(&socket, &[id('a')]).unwrap_err().label(), "unreachable");
}

/// Engines at these sockets, asked on a runtime of their own until the condition holds.
fn follow(sockets: &[PathBuf], ended: impl Fn(&Store, &Metrics) -> bool) -> Arc<Metrics> {
    let (engines, metrics) = (Engines::new(sockets), Arc::<Metrics>::default());
    let (store, counted) = (engines.store(), Arc::clone(&metrics));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let following = tokio::spawn(engines.follow(Arc::clone(&counted)));
        let begun = Instant::now();
        while !ended(&store, &counted) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the engines do not get that far");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        following.abort();
    });
    metrics
}

#[test]
fn the_engine_that_knows_a_container_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let [absent, refusing, other, knowing] = [1, 2, 3, 4].map(|number| folder.path().join(format!("{number}.sock")));
    engine(&refusing, |_, stream| say(stream, "500 Oops", ""));
    engine(&other, |_, stream| say(stream, "200 OK", "[]"));
    engine(&knowing, |_, stream| say(stream, "200 OK", &format!(r#"[{{"Id":"{}","Names":["/shop"]}}]"#, id('a'))));
    let metrics = follow(&[absent, refusing, other, knowing], |store, _| {
        store.find(&inside("a"), Instant::now()).is_some_and(|found| *found == shop())
    });
    assert_eq!(metrics.get(Metric::ContainersNamed, ""), 1.0);
    assert_eq!(metrics.get(Metric::ContainerEngineErrors, "refused"), 1.0);
    assert_eq!(metrics.get(Metric::ContainerEngineErrors, "absent"), 1.0);
}

#[test]
fn a_container_with_too_much_to_say_costs_no_other_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    engine(&socket, |request, stream| {
        if request.contains(&*id('b')) {
            return say(stream, "200 OK", &" ".repeat(2 << 20));
        }
        say(stream, "200 OK", &format!(r#"[{{"Id":"{}","Names":["/shop"]}}]"#, id('a')));
    });
    let metrics = follow(&[socket], |store, _| {
        let _ = store.find(&inside("b"), Instant::now());
        store.find(&inside("a"), Instant::now()).is_some()
    });
    assert!(metrics.get(Metric::ContainerEngineErrors, "too_large") >= 1.0);
}

#[test]
fn an_engine_that_comes_later_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let metrics = follow(std::slice::from_ref(&socket), |store, metrics| {
        if metrics.get(Metric::ContainerEngineErrors, "unreachable") == 1.0 && std::fs::remove_file(&socket).is_ok() {
            engine(&socket, |_, stream| {
                say(stream, "200 OK", &format!(r#"[{{"Id":"{}","Names":["/shop"]}}]"#, id('a')));
            });
        }
        store.find(&inside("a"), Instant::now()).is_some()
    });
    assert_eq!(metrics.get(Metric::ContainersNamed, ""), 1.0);
}

/// What is waited for now.
fn wanted(store: &Store) -> Vec<Arc<str>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_millis(1), store.wanted()).await.unwrap_or_default() })
}

#[test]
fn containers_of_pods_are_nobodys_to_ask_for() {
    let store = Store::new(true);
    let of_pod = Container { pod_uid: Some("uid".into()), ..inside("a") };
    assert_eq!(store.find(&of_pod, Instant::now()), None);
    assert!(wanted(&store).is_empty());
    let silent = Store::default();
    assert_eq!(silent.find(&inside("a"), Instant::now()), None);
    assert!(wanted(&silent).is_empty());
}

#[test]
fn a_container_is_named_by_the_innermost_that_is_known() {
    let (store, now) = (Store::new(true), Instant::now());
    assert_eq!(store.find(&inside("ba"), now), None);
    assert_eq!(wanted(&store), [id('a'), id('b')]);
    assert!(store.answer(&[id('a'), id('b')], vec![shop()], None, now));
    assert_eq!(store.find(&inside("ba"), now).as_deref(), Some(&shop()));
    assert!(wanted(&store).is_empty());
    assert_eq!((store.version(), store.named()), (1, 1));
}

#[test]
fn a_container_is_asked_for_again_and_keeps_its_name_when_it_is_gone() {
    let (store, start) = (Store::new(true), Instant::now());
    let _ = store.find(&inside("a"), start);
    store.answer(&[id('a')], vec![shop()], None, start);
    let later = start + Duration::from_secs(299);
    assert!(store.find(&inside("a"), later).is_some() && wanted(&store).is_empty());
    let later = start + Duration::from_secs(300);
    assert!(store.find(&inside("a"), later).is_some());
    assert_eq!(wanted(&store), [id('a')]);
    // It is gone: its last samples have its name all the same.
    store.answer(&[id('a')], vec![], None, later);
    assert!(store.find(&inside("a"), later + REMEMBER).is_some());
    // Another name counts from the next look on.
    let renamed = Described { name: Some("shop-2".into()), ..shop() };
    store.answer(&[id('a')], vec![renamed.clone()], None, later + REMEMBER);
    assert_eq!(store.find(&inside("a"), later + REMEMBER).as_deref(), Some(&renamed));
    // Five minutes after the last sample nothing is left of it.
    store.answer(&[], vec![], None, later + 2 * REMEMBER + Duration::from_secs(1));
    assert_eq!(store.named(), 0);
}

#[test]
fn what_no_engine_knows_is_asked_for_when_there_may_be_another_answer() {
    let (store, start) = (Store::new(true), Instant::now());
    let _ = store.find(&inside("a"), start);
    let again = start + Duration::from_secs(8);
    store.answer(&[id('a')], vec![], Some(again), start);
    assert_eq!(store.find(&inside("a"), start + Duration::from_secs(7)), None);
    assert!(wanted(&store).is_empty());
    let _ = store.find(&inside("a"), again);
    assert_eq!(wanted(&store), [id('a')]);
}

#[test]
fn containers_are_bounded() {
    let (store, now) = (Store::new(true), Instant::now());
    let numbered = |number: usize| Arc::<str>::from(format!("{number:064x}"));
    let of = |number| Container { ids: vec![numbered(number)], pod_uid: None };
    (0..1000).for_each(|number| drop(store.find(&of(number), now)));
    assert_eq!(wanted(&store).len(), 64);
    let known = |number| Described { id: numbered(number), ..Described::default() };
    assert!((0..4095).all(|number| store.answer(&[numbered(number)], vec![known(number)], None, now)));
    // One that nobody knows makes room, one that is known does not.
    assert!(store.answer(&[id('a')], vec![], None, now));
    assert!(store.answer(&[numbered(4095)], vec![known(4095)], None, now));
    assert!(!store.answer(&[id('b')], vec![], None, now));
    assert_eq!(store.named(), 4096);
}
