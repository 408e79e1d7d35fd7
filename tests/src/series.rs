//! The series that an agent sent: their labels, and how many samples they had.

use crate::stub::{Answer, Protocol, Stub};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Labels of a series with `service.name`.
pub type Labels = BTreeMap<String, String>;

/// A server that takes everything.
#[must_use]
pub fn accepting() -> Stub {
    Stub::start(Protocol::Grpc, |_| Answer::Accept)
}

/// The labels of all series so far, with their samples.
#[must_use]
pub fn series(stub: &Stub) -> Vec<(Labels, u64)> {
    series_since(stub, 0)
}

/// The same of windows that began after a time.
#[must_use]
pub fn series_since(stub: &Stub, since_unix_ns: u64) -> Vec<(Labels, u64)> {
    let mut all = Vec::new();
    for arrival in stub.arrivals() {
        for resource in &arrival.request.resource_profiles {
            let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
            let profiles = resource.scope_profiles.iter().flat_map(|scope| &scope.profiles);
            let later = profiles.filter(|profile| profile.time_unix_nano >= since_unix_ns);
            let values = later.flat_map(|profile| &profile.samples).flat_map(|sample| &sample.values);
            all.push((attributes.map(label).collect(), values.map(|value| *value as u64).sum()));
        }
    }
    all
}

fn label(attribute: &KeyValue) -> (String, String) {
    match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(Value::StringValue(value)) => (attribute.key.clone(), value),
        other => panic!("{} is {other:?}", attribute.key),
    }
}

/// Waits for a series with this label.
pub fn wait_for(stub: &Stub, key: &str, value: &str) -> Labels {
    let started = Instant::now();
    loop {
        let found = series(stub).into_iter().rev().find(|(labels, _)| labels.get(key).is_some_and(|is| is == value));
        if let Some((labels, _)) = found {
            return labels;
        }
        assert!(started.elapsed() < PATIENCE, "no series with {key}={value}: {:#?}", series(stub));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Labels of these keys and values.
#[must_use]
pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
