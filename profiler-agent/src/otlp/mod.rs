//! From a [`Profile`] to OTLP requests: values to values, no I/O.
//!
//! Input: a closed window. Output: one [`Part`] or more per service, each with one OTLP profile and a dictionary of
//! its own, so that a server takes a part or does not: Pyroscope 1.x pushes the profiles of a request one by one and
//! stops at the first error. Invariant: the parts' values sum up to the profile's samples; what is too large is
//! split, and where that is impossible shortened, never left out.

mod dictionary;
mod labels;
mod naming;
mod question;
mod split;
mod subset;

use crate::profile::{Profile, Service};
use dictionary::Dictionary;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::profiles::v1development as proto;
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use naming::LabelStyle;
pub(crate) use naming::{clip, underscored};
pub(crate) use question::{empty as empty_request, impossible as impossible_request};
pub use split::halve;

/// Encoded size of a part, below the 2 MB burst of a Pyroscope tenant: what exceeds a burst can never pass.
pub const MAX_PART_BYTES: usize = 1_500_000;
/// Samples of a profile that Pyroscope accepts.
pub const MAX_PART_STACKS: usize = 16_000;
/// Locations of a stack that Pyroscope keeps; of a deeper one it cuts the leaf off.
pub const MAX_DEPTH: usize = 1000;

/// A request that a server takes whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// One profile of one service.
    pub request: ExportProfilesServiceRequest,
    /// Its samples, counted in the request.
    pub samples: u64,
}

impl Part {
    /// Start and end of its profile in Unix nanoseconds.
    #[must_use]
    pub fn span_unix_ns(&self) -> (u64, u64) {
        let profile = split::profile(&self.request);
        let span = profile.map(|profile| (profile.time_unix_nano, profile.duration_nano)).unwrap_or_default();
        (span.0, span.0.saturating_add(span.1))
    }
}

impl From<ExportProfilesServiceRequest> for Part {
    fn from(request: ExportProfilesServiceRequest) -> Self {
        let samples = sample_count(&request);
        Self { request, samples }
    }
}

/// Samples in a request: the sum of its values.
#[must_use]
pub fn sample_count(request: &ExportProfilesServiceRequest) -> u64 {
    let scopes = request.resource_profiles.iter().flat_map(|resource| &resource.scope_profiles);
    let samples = scopes.flat_map(|scope| &scope.profiles).flat_map(|profile| &profile.samples);
    samples.flat_map(|sample| &sample.values).fold(0, |sum, &value| sum.saturating_add(value.max(0).unsigned_abs()))
}

/// The profile as requests of at most `max_bytes` each, stacks merged over threads.
///
/// `resource` are labels of every service, keys with dots; a service's own labels go first.
#[must_use]
pub fn parts(profile: &Profile, resource: &[(Arc<str>, Arc<str>)], style: LabelStyle, max_bytes: usize) -> Vec<Part> {
    let mut dictionary = Dictionary::new(profile, MAX_DEPTH);
    let merged: Vec<_> = profile.services.iter().map(|service| merge(service, &mut dictionary)).collect();
    let tables = dictionary.finish();
    let mut parts = Vec::with_capacity(merged.len());
    for (service, samples) in profile.services.iter().zip(merged) {
        if !samples.is_empty() {
            let (used, samples) = subset::subset(&tables, samples);
            let request = request(vec![resource_profile(profile, service, resource, style, samples)], used);
            split::fit(request, max_bytes, &mut parts);
        }
    }
    parts
}

/// The profile as one request with one dictionary, threads kept apart by sample attributes: for files. Servers that
/// make a series of every sample attribute must not get it.
#[must_use]
pub fn whole(profile: &Profile, resource: &[(Arc<str>, Arc<str>)], style: LabelStyle) -> ExportProfilesServiceRequest {
    let mut dictionary = Dictionary::new(profile, usize::MAX);
    let services = profile.services.iter().map(|service| {
        let samples = service.samples.iter().filter(|sample| sample.count > 0);
        let samples = samples.map(|sample| proto::Sample {
            attribute_indices: dictionary.thread(sample.thread),
            ..counted(dictionary.stack(sample.stack), sample.count)
        });
        resource_profile(profile, service, resource, style, samples.collect())
    });
    let services = services.collect();
    request(services, dictionary.finish())
}

fn merge(service: &Service, dictionary: &mut Dictionary<'_>) -> Vec<proto::Sample> {
    let mut counts = BTreeMap::<u32, u64>::new();
    for sample in service.samples.iter().filter(|sample| sample.count > 0) {
        let count = counts.entry(sample.stack).or_default();
        *count = count.saturating_add(sample.count);
    }
    counts.into_iter().map(|(stack, count)| counted(dictionary.stack(stack), count)).collect()
}

fn counted(stack_index: i32, count: u64) -> proto::Sample {
    proto::Sample { stack_index, values: vec![i64::try_from(count).unwrap_or(i64::MAX)], ..Default::default() }
}

fn request(
    resource_profiles: Vec<proto::ResourceProfiles>,
    dictionary: proto::ProfilesDictionary,
) -> ExportProfilesServiceRequest {
    ExportProfilesServiceRequest { resource_profiles, dictionary: Some(dictionary) }
}

fn resource_profile(
    profile: &Profile,
    service: &Service,
    resource: &[(Arc<str>, Arc<str>)],
    style: LabelStyle,
    samples: Vec<proto::Sample>,
) -> proto::ResourceProfiles {
    let (attributes, dropped_attributes_count) = labels::attributes(service, resource, style);
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    };
    let profile = proto::Profile {
        sample_type: Some(dictionary::SAMPLES_COUNT),
        samples,
        time_unix_nano: profile.start_unix_ns,
        duration_nano: profile.duration_ns,
        period_type: Some(dictionary::CPU_NANOSECONDS),
        // Without a period Pyroscope refuses the profile.
        period: i64::try_from(profile.period_ns).unwrap_or(i64::MAX).max(1),
        profile_id: profile_id(),
        ..Default::default()
    };
    let scope = proto::ScopeProfiles { scope: Some(scope), profiles: vec![profile], ..Default::default() };
    proto::ResourceProfiles {
        resource: Some(Resource { attributes, dropped_attributes_count, ..Default::default() }),
        scope_profiles: vec![scope],
        ..Default::default()
    }
}

/// A new identity; it stays with the part however often that is sent.
fn profile_id() -> Vec<u8> {
    rand::random::<[u8; 16]>().to_vec()
}

#[cfg(test)]
mod tests;
