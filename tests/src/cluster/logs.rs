//! What containers print.

use super::Cluster;
use std::io::Read as _;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

/// The log of a container, from its begin until its end or that of this value: what kubelet keeps goes with the pod.
#[derive(Debug)]
pub struct Log {
    kubectl: Child,
    reader: Option<JoinHandle<String>>,
}

impl Log {
    /// Follows the only container of a pod.
    ///
    /// # Panics
    /// When kubectl does not start.
    #[must_use]
    pub fn follow(cluster: &Cluster, namespace: &str, pod: &str) -> Self {
        let mut kubectl = cluster.command("kubectl");
        kubectl.args(["logs", "--follow", "--namespace", namespace, pod]);
        let mut kubectl = kubectl.stdout(Stdio::piped()).spawn().expect("kubectl starts");
        let mut stdout = kubectl.stdout.take().expect("its standard output is piped");
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { kubectl, reader: Some(reader) }
    }

    /// All of it, once the container has ended.
    #[must_use]
    pub fn until_end(mut self) -> String {
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}
