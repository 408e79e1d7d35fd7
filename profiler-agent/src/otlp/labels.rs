//! Resource attributes: what a server makes labels of.

use super::naming::{LabelStyle, clip, underscored};
use crate::profile::Service;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// Labels of a series, `service.name` included; Pyroscope takes 30 and adds its own.
pub(super) const MAX_LABELS: usize = 24;
/// Bytes of a label's key that Pyroscope accepts.
const MAX_KEY_BYTES: usize = 1024;
/// Bytes of a label's value that Pyroscope accepts.
const MAX_VALUE_BYTES: usize = 2048;
/// The name of a service that has none.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// `service.name`, the service's labels, then those of `resource`; and how many were left out because there are too
/// many. Of labels that a server would take for the same one the first stays.
pub(super) fn attributes(
    service: &Service,
    resource: &[(Arc<str>, Arc<str>)],
    style: LabelStyle,
) -> (Vec<KeyValue>, u32) {
    let name = if service.name.is_empty() { UNKNOWN_SERVICE } else { &service.name };
    let mut attributes = vec![attribute("service.name", name)];
    let mut seen = HashSet::from(["service_name".to_owned()]);
    let mut dropped = 0;
    for (key, value) in service.labels.iter().chain(resource) {
        let underscored = underscored(key);
        // Pyroscope keeps names with two leading underscores to itself.
        let usable = !value.is_empty() && !underscored.is_empty() && !underscored.starts_with("__");
        if !usable || !seen.insert(underscored.clone().into_owned()) {
            continue;
        }
        if attributes.len() == MAX_LABELS {
            dropped += 1;
            continue;
        }
        let key = match style {
            LabelStyle::Underscore => underscored,
            LabelStyle::Dot => Cow::Borrowed(&**key),
        };
        attributes.push(attribute(&key, value));
    }
    (attributes, dropped)
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Value::StringValue(clip(value, MAX_VALUE_BYTES).to_owned());
    KeyValue { key: clip(key, MAX_KEY_BYTES).to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}
