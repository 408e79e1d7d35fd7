//! Facts of this host and of the agent itself.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// The host's name.
#[must_use]
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".into())
}

/// Now in Unix nanoseconds.
#[must_use]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Online CPUs.
#[must_use]
pub fn cpus() -> u32 {
    aya::util::online_cpus().map_or(1, |cpus| cpus.len() as u32)
}

/// Labels of every series: the host, where its name is wanted, and what the user adds.
#[must_use]
pub fn resource(host_name: Option<&str>, labels: &[(String, String)]) -> Vec<(Arc<str>, Arc<str>)> {
    let host = host_name.map(|name| ("host.name".to_owned(), name.to_owned()));
    let mut resource: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    // What the user says counts: the last one of a key stays.
    for (key, value) in host.iter().chain(labels) {
        resource.retain(|(known, _)| **known != **key);
        resource.push((Arc::from(&**key), Arc::from(&**value)));
    }
    resource
}

/// Resident bytes and CPU seconds of the agent.
#[must_use]
pub fn own_usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 24 (rss, pages), 14 and 15 (utime and stime, ticks) of proc(5); the list begins with field 3.
    (number(21) * rustix::param::page_size() as f64, (number(11) + number(12)) / TICKS_PER_SECOND)
}
