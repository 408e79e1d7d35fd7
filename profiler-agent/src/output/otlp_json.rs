//! The OTLP formats: the request as it goes over the wire, and OTLP/JSON.
//!
//! OTLP/JSON is protobuf's JSON mapping with two changes (opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding):
//! lowerCamelCase keys, 64-bit integers as decimal strings, bytes in base64, except trace and span ids, which are
//! hexadecimal. opentelemetry-proto 0.33 writes the profiles' 64-bit integers as numbers and their bytes as arrays of
//! numbers; this stage corrects that. `profileId` it writes in hexadecimal, as the collector does.

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use prost::Message as _;
use serde_json::Value;

/// 64-bit integers of `profiles.proto` in messages that a request contains.
const INTEGERS_64: [&str; 11] = [
    "timeUnixNano",
    "durationNano",
    "period",
    "values",
    "memoryStart",
    "memoryLimit",
    "fileOffset",
    "address",
    "line",
    "column",
    "startLine",
];
/// Bytes in hexadecimal that come as arrays.
const IDS: [&str; 2] = ["traceId", "spanId"];
/// Bytes in base64 that come as arrays.
const BYTES: [&str; 1] = ["originalPayload"];

/// The request in protobuf or, with `json`, in OTLP/JSON.
///
/// # Errors
/// The JSON encoder failed.
pub fn render_otlp(request: &ExportProfilesServiceRequest, json: bool) -> anyhow::Result<Vec<u8>> {
    if !json {
        return Ok(request.encode_to_vec());
    }
    let mut value = serde_json::to_value(request).context("writing the request as JSON")?;
    conform("", &mut value);
    let mut bytes = serde_json::to_vec(&value).context("writing the request as JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Corrects a value that stands under `key`.
fn conform(key: &str, value: &mut Value) {
    match value {
        Value::Array(bytes) if IDS.contains(&key) => *value = Value::String(hexadecimal(&byte_vec(bytes))),
        Value::Array(bytes) if BYTES.contains(&key) => *value = base64(byte_vec(bytes)),
        Value::Array(elements) => elements.iter_mut().for_each(|element| conform(key, element)),
        Value::Object(members) => {
            // A message that is not set is left out.
            members.retain(|_, member| !member.is_null());
            members.iter_mut().for_each(|(key, member)| conform(key, member));
        }
        Value::Number(number) if INTEGERS_64.contains(&key) => *value = Value::String(number.to_string()),
        _ => {}
    }
}

fn byte_vec(numbers: &[Value]) -> Vec<u8> {
    numbers.iter().filter_map(Value::as_u64).filter_map(|number| u8::try_from(number).ok()).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By way of `AnyValue`, whose bytes opentelemetry-proto does write in base64.
fn base64(bytes: Vec<u8>) -> Value {
    let value = AnyValue { value: Some(any_value::Value::BytesValue(bytes)) };
    serde_json::to_value(value)
        .ok()
        .and_then(|mut value| value.get_mut("bytesValue").map(Value::take))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::HOSTILE;
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
    use opentelemetry_proto::tonic::profiles::v1development as proto;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use serde_json::json;

    fn string(value: &str) -> Option<AnyValue> {
        Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) })
    }

    /// A request with every field set that holds 64 bits or bytes.
    fn request() -> ExportProfilesServiceRequest {
        let large = 1 << 60;
        let profile = proto::Profile {
            sample_type: Some(proto::ValueType { type_strindex: 1, unit_strindex: 2 }),
            samples: vec![proto::Sample {
                stack_index: 1,
                values: vec![1, i64::MAX],
                timestamps_unix_nano: vec![u64::MAX],
                ..Default::default()
            }],
            time_unix_nano: u64::MAX,
            duration_nano: 3,
            period: large,
            profile_id: vec![0xab; 16],
            original_payload_format: "x".to_owned(),
            original_payload: vec![0xff, 0, 1],
            ..Default::default()
        };
        let dictionary = proto::ProfilesDictionary {
            mapping_table: vec![proto::Mapping {
                memory_start: 1,
                memory_limit: 2,
                file_offset: 3,
                ..Default::default()
            }],
            location_table: vec![proto::Location {
                address: u64::MAX,
                lines: vec![proto::Line { function_index: 1, line: 4, column: 5 }],
                ..Default::default()
            }],
            function_table: vec![proto::Function { start_line: 6, ..Default::default() }],
            link_table: vec![proto::Link::default(), proto::Link { trace_id: vec![0x0a; 16], span_id: vec![0xfe; 8] }],
            string_table: HOSTILE.clone(),
            attribute_table: vec![proto::KeyValueAndUnit {
                key_strindex: 1,
                value: Some(AnyValue { value: Some(any_value::Value::IntValue(large)) }),
                unit_strindex: 0,
            }],
            stack_table: vec![proto::Stack { location_indices: vec![1, 2] }],
        };
        let resource = Resource {
            attributes: vec![KeyValue { key: "service.name".to_owned(), value: string("shop"), ..Default::default() }],
            ..Default::default()
        };
        let scope_profiles = vec![proto::ScopeProfiles {
            scope: Some(InstrumentationScope { name: "p".to_owned(), ..Default::default() }),
            profiles: vec![profile],
            schema_url: String::new(),
        }];
        ExportProfilesServiceRequest {
            resource_profiles: vec![proto::ResourceProfiles {
                resource: Some(resource),
                scope_profiles,
                schema_url: String::new(),
            }],
            dictionary: Some(dictionary),
        }
    }

    /// OTLP/JSON back in the shape that opentelemetry-proto reads, which knows no integers in strings here.
    fn crate_shape(key: &str, value: &mut Value) {
        let text = value.as_str().map(str::to_owned);
        match (value, text) {
            (value, Some(text)) if INTEGERS_64.contains(&key) => {
                *value =
                    text.parse::<u64>().map(Value::from).or_else(|_| text.parse::<i64>().map(Value::from)).unwrap();
            }
            (value, Some(text)) if IDS.contains(&key) => {
                let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
                *value = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            }
            (value, Some(text)) if BYTES.contains(&key) => {
                let any: AnyValue = serde_json::from_value(json!({ "bytesValue": text })).unwrap();
                let Some(any_value::Value::BytesValue(bytes)) = any.value else { panic!("{any:?}") };
                *value = Value::from(bytes);
            }
            (Value::Array(elements), _) => elements.iter_mut().for_each(|element| crate_shape(key, element)),
            (Value::Object(members), _) => members.iter_mut().for_each(|(key, member)| crate_shape(key, member)),
            _ => {}
        }
    }

    #[test]
    fn json_follows_the_mapping_of_protobuf() {
        let value: Value = serde_json::from_slice(&render_otlp(&request(), true).unwrap()).unwrap();
        let profile = &value["resourceProfiles"][0]["scopeProfiles"][0]["profiles"][0];
        assert_eq!(profile["timeUnixNano"], json!("18446744073709551615"));
        assert_eq!(profile["durationNano"], json!("3"));
        assert_eq!(profile["period"], json!("1152921504606846976"));
        assert_eq!(profile["samples"][0]["values"], json!(["1", "9223372036854775807"]));
        assert_eq!(profile["samples"][0]["timestampsUnixNano"], json!(["18446744073709551615"]));
        assert_eq!(profile["samples"][0]["stackIndex"], json!(1));
        assert_eq!(profile["profileId"], json!("abababababababababababababababab"));
        assert_eq!(profile["originalPayload"], json!("/wAB"));
        assert!(profile.get("periodType").is_none());
        let dictionary = &value["dictionary"];
        assert_eq!(dictionary["locationTable"][0]["address"], json!("18446744073709551615"));
        assert_eq!(
            dictionary["locationTable"][0]["lines"],
            json!([{ "functionIndex": 1, "line": "4", "column": "5" }])
        );
        assert_eq!(dictionary["mappingTable"][0]["memoryLimit"], json!("2"));
        assert_eq!(dictionary["functionTable"][0]["startLine"], json!("6"));
        assert_eq!(dictionary["linkTable"][0], json!({ "traceId": "", "spanId": "" }));
        assert_eq!(dictionary["linkTable"][1]["spanId"], json!("fefefefefefefefe"));
        assert_eq!(dictionary["attributeTable"][0]["value"], json!({ "intValue": "1152921504606846976" }));
        assert_eq!(dictionary["stackTable"][0]["locationIndices"], json!([1, 2]));
    }

    #[test]
    fn json_loses_nothing() {
        let mut value: Value = serde_json::from_slice(&render_otlp(&request(), true).unwrap()).unwrap();
        crate_shape("", &mut value);
        let profile = &mut value["resourceProfiles"][0]["scopeProfiles"][0]["profiles"][0];
        assert!(profile.as_object_mut().unwrap().insert("periodType".to_owned(), Value::Null).is_none());
        assert_eq!(serde_json::from_value::<ExportProfilesServiceRequest>(value).unwrap(), request());
    }

    #[test]
    fn protobuf_reads_back_equal() {
        let bytes = render_otlp(&request(), false).unwrap();
        assert_eq!(ExportProfilesServiceRequest::decode(bytes.as_slice()).unwrap(), request());
    }

    #[test]
    fn empty_request_is_an_object() {
        let bytes = render_otlp(&ExportProfilesServiceRequest::default(), true).unwrap();
        assert_eq!(bytes, b"{\"resourceProfiles\":[]}\n");
    }
}
