//! The labels of one service while rules work on them.

use crate::otlp::{clip, underscored};
use crate::profile::Service;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a value that Pyroscope accepts.
const MAX_VALUE_BYTES: usize = 2048;
/// The label that is the service's name.
const SERVICE: &str = "service_name";

/// A service's name, and its labels sorted by key.
pub(super) type Named = (Arc<str>, Vec<(Arc<str>, Arc<str>)>);

/// Keys and values by name with underscores. A label with an empty value does not exist, as in Prometheus.
#[derive(Clone, Debug)]
pub(super) struct Labels(BTreeMap<String, (Arc<str>, Arc<str>)>);

impl Labels {
    pub(super) fn of(service: &Service, shared: &[(Arc<str>, Arc<str>)]) -> Self {
        let name = (Arc::from(SERVICE), Arc::clone(&service.name));
        let mut labels = BTreeMap::new();
        for (key, value) in std::iter::once(&name).chain(&service.labels).chain(shared) {
            if !value.is_empty() {
                let entry = labels.entry(underscored(key).into_owned());
                entry.or_insert_with(|| (Arc::clone(key), Arc::clone(value)));
            }
        }
        Self(labels)
    }

    /// The value; empty when there is no such label. `name` has underscores.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |(_, value)| value)
    }

    /// Sets a label, which keeps its key if there is one; an empty value removes it.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        let (name, value) = (underscored(key), clip(value, MAX_VALUE_BYTES));
        if value.is_empty() {
            self.0.remove(&*name);
            return;
        }
        let entry = self.0.entry(name.into_owned()).or_insert_with(|| (Arc::from(key), Arc::from("")));
        entry.1 = Arc::from(value);
    }

    /// Keeps the labels whose names fit.
    pub(super) fn retain(&mut self, mut fits: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| fits(name));
    }

    /// Names and values of now.
    pub(super) fn pairs(&self) -> Vec<(String, Arc<str>)> {
        self.0.iter().map(|(name, (_, value))| (name.clone(), Arc::clone(value))).collect()
    }

    pub(super) fn into_named(mut self) -> Named {
        let name = self.0.remove(SERVICE).map_or_else(|| Arc::from(""), |(_, value)| value);
        let lasting = self.0.into_iter().filter(|(name, _)| !name.starts_with("__"));
        let mut labels: Vec<_> = lasting.map(|(_, label)| label).collect();
        labels.sort();
        (name, labels)
    }
}
