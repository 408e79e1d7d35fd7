//! An API server of Kubernetes as far as a watch of pods and namespaces needs one: list and watch over TLS, on loopback, on
//! a thread of its own. It refuses what a test tells it to refuse.

mod answer;

use crate::workload::free_port;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// The token that it accepts.
const TOKEN: &str = "the-token";

/// What became of an object.
#[derive(Clone, Debug)]
struct Change {
    resource: &'static str,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    kind: &'static str,
    object: Value,
    version: u64,
}

/// What it does with requests.
#[derive(Debug, Default)]
struct State {
    objects: Vec<(&'static str, Value)>,
    changes: Vec<Change>,
    version: u64,
    /// Watches from before this version are too old.
    oldest: u64,
    /// Grows when all watches are to end.
    ended: u64,
    /// Resources that may not be seen.
    forbidden: Vec<&'static str>,
    /// Paths with their queries.
    requests: Vec<String>,
}

impl State {
    fn change(&mut self, resource: &'static str, kind: &'static str, mut object: Value) {
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        self.changes.push(Change { resource, kind, object, version });
    }
}

/// The server; it stops when dropped.
pub struct ApiServer {
    port: u16,
    state: Arc<Mutex<State>>,
    folder: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn uid(object: &Value) -> &Value {
    &object["metadata"]["uid"]
}

impl ApiServer {
    /// A server without objects, on a free port.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the service account");
        let acceptor = acceptor(folder.path());
        std::fs::write(folder.path().join("token"), TOKEN).expect("the token can be written");
        let state = Arc::new(Mutex::new(State { version: 100, ..State::default() }));
        let (port, (stop, stopped)) = (free_port(), oneshot::channel());
        let (up, is_up) = std::sync::mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the API server's port is free");
                up.send(()).expect("the API server is waited for");
                tokio::select! {
                    () = serve(listener, acceptor, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        is_up.recv().expect("the API server listens");
        Self { port, state, folder, running: Some((stop, thread)) }
    }

    /// Lets a command find it as a pod would, and names its node.
    pub fn tell(&self, command: &mut Command, node: &str) {
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", self.port.to_string());
        command.arg("--kubernetes-account").arg(self.folder.path()).args(["--kubernetes", "on", "--node-name", node]);
    }

    /// The same server as a kubelet.
    #[must_use]
    pub fn kubelet_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Adds a pod, or replaces the one with its uid.
    pub fn put_pod(&self, pod: Value) {
        self.put("pods", pod);
    }

    /// The same of a namespace.
    pub fn put_namespace(&self, namespace: Value) {
        self.put("namespaces", namespace);
    }

    fn put(&self, resource: &'static str, object: Value) {
        let mut state = lock(&self.state);
        let known = state.objects.iter().position(|(kind, known)| *kind == resource && uid(known) == uid(&object));
        match known {
            Some(place) => state.objects[place].1 = object.clone(),
            None => state.objects.push((resource, object.clone())),
        }
        state.change(resource, if known.is_some() { "MODIFIED" } else { "ADDED" }, object);
    }

    /// Deletes a pod.
    pub fn delete_pod(&self, of_uid: &str) {
        let mut state = lock(&self.state);
        let place = state.objects.iter().position(|(_, object)| uid(object) == of_uid).expect("there is that pod");
        let (_, object) = state.objects.remove(place);
        state.change("pods", "DELETED", object);
    }

    /// Does not let anybody see a resource any more, or again.
    pub fn forbid(&self, resource: &'static str, forbidden: bool) {
        let mut state = lock(&self.state);
        state.forbidden.retain(|known| *known != resource);
        state.forbidden.extend(forbidden.then_some(resource));
        state.ended += 1;
    }

    /// Forgets all changes: watches end, and go on from nothing but a new list.
    pub fn forget(&self) {
        let mut state = lock(&self.state);
        state.version += 1;
        (state.oldest, state.ended) = (state.version, state.ended + 1);
    }

    /// Paths with queries of all requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the API server panicked");
        }
    }
}

/// A certificate for 127.0.0.1, whose authority is in the folder's `ca.crt`.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new([]).expect("parameters of an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    let key = || KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    std::fs::write(folder.join("ca.crt"), issuer.pem()).expect("the authority can be written");
    let own = key();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters of a certificate");
    let certificate = params.signed_by(&own, &issuer).expect("a certificate").pem();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let own = PrivateKeyDer::from_pem_slice(own.serialize_pem().as_bytes()).expect("PEM");
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], own);
    TlsAcceptor::from(Arc::new(config.expect("a key of that certificate")))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("the API server accepts");
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = service_fn(move |request| answer::answer(request, Arc::clone(&state)));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}
