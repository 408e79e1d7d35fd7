//! Who asked the API server for what.

use super::Cluster;
use serde_json::Value;

/// One line of the API server's audit log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// `get`, `list`, `watch` and the like.
    pub verb: String,
    /// `pods`.
    pub resource: String,
    /// Path and query.
    pub uri: String,
    /// HTTP's status.
    pub code: u64,
}

/// What a user has asked for so far.
///
/// # Panics
/// When there is no audit log.
#[must_use]
pub fn requests(cluster: &Cluster, user: &str) -> Vec<Request> {
    let log = std::fs::read_to_string(cluster.run.join("log/audit.log")).expect("the API server's audit log");
    // The last line may not be whole yet.
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .filter(|entry| entry["user"]["username"] == user)
        .map(|entry| Request {
            verb: text(&entry["verb"]),
            resource: text(&entry["objectRef"]["resource"]),
            uri: text(&entry["requestURI"]),
            code: entry["responseStatus"]["code"].as_u64().unwrap_or(0),
        })
        .collect()
}
