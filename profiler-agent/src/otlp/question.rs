//! Requests that no server can take, but by which it shows what it understands.

use super::dictionary::zero_tables;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development as proto;
use prost::Message as _;

/// Nothing but a dictionary without content. A collector takes it, Pyroscope misses profiles in it; neither stores
/// anything.
pub(crate) fn empty() -> Vec<u8> {
    let dictionary = proto::ProfilesDictionary { string_table: vec![String::new()], ..zero_tables() };
    ExportProfilesServiceRequest { resource_profiles: Vec::new(), dictionary: Some(dictionary) }.encode_to_vec()
}

/// A sample whose stack is not in the dictionary. A server that looks refuses it; one that reads an earlier version of
/// the protocol sees no stack there, and says yes.
pub(crate) fn impossible() -> Vec<u8> {
    let strings = ["", "samples", "count", "cpu", "nanoseconds"].map(str::to_owned).to_vec();
    let dictionary = proto::ProfilesDictionary { string_table: strings, ..zero_tables() };
    let value_type = |type_strindex, unit_strindex| Some(proto::ValueType { type_strindex, unit_strindex });
    let profile = proto::Profile {
        sample_type: value_type(1, 2),
        period_type: value_type(3, 4),
        period: 1,
        samples: vec![proto::Sample { stack_index: 99, values: vec![1], ..Default::default() }],
        ..Default::default()
    };
    let scope = proto::ScopeProfiles { profiles: vec![profile], ..Default::default() };
    let resource = proto::ResourceProfiles { scope_profiles: vec![scope], ..Default::default() };
    let request = ExportProfilesServiceRequest { resource_profiles: vec![resource], dictionary: Some(dictionary) };
    request.encode_to_vec()
}
