//! Makes requests small enough for a server.

use super::dictionary::MAX_NAME_BYTES;
use super::{MAX_PART_STACKS, Part, clip, profile_id, request, subset::subset};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development as proto;
use prost::Message;

/// Bytes of a name that are kept however many names there are.
const MIN_NAME_BYTES: usize = 16;

/// Adds the request to `parts`, as several when it is too large.
pub(super) fn fit(request: ExportProfilesServiceRequest, max_bytes: usize, parts: &mut Vec<Part>) {
    let stacks = profile(&request).map_or(0, |profile| profile.samples.len());
    if stacks <= MAX_PART_STACKS && request.encoded_len() <= max_bytes {
        return parts.push(request.into());
    }
    match halve(&request) {
        Some(halves) => halves.into_iter().for_each(|half| fit(half, max_bytes, parts)),
        None => parts.push(shrink(request, max_bytes).into()),
    }
}

/// The request's samples in two requests with an identity of their own; none when it has fewer than two stacks.
#[must_use]
pub fn halve(whole: &ExportProfilesServiceRequest) -> Option<[ExportProfilesServiceRequest; 2]> {
    let samples = &profile(whole)?.samples;
    if samples.len() < 2 {
        return None;
    }
    let (first, second) = samples.split_at(samples.len() / 2);
    Some([with_samples(whole, first.to_vec())?, with_samples(whole, second.to_vec())?])
}

/// A single stack that is too large keeps its count and all its addresses: inlined functions go first, then names
/// are cut to equal length.
fn shrink(mut whole: ExportProfilesServiceRequest, max_bytes: usize) -> ExportProfilesServiceRequest {
    for location in whole.dictionary.iter_mut().flat_map(|tables| &mut tables.location_table) {
        let inlined = location.lines.len().saturating_sub(1);
        location.lines.drain(..inlined);
    }
    let samples = profile(&whole).map(|profile| profile.samples.clone()).unwrap_or_default();
    let Some(mut whole) = with_samples(&whole, samples) else { return whole };
    let size = whole.encoded_len();
    if let Some(tables) = whole.dictionary.as_mut().filter(|_| size > max_bytes) {
        let names: usize = tables.string_table.iter().map(String::len).sum();
        let room = max_bytes.saturating_sub(size - names);
        let name_bytes = (room / tables.string_table.len().max(1)).clamp(MIN_NAME_BYTES, MAX_NAME_BYTES);
        for name in &mut tables.string_table {
            name.truncate(clip(name, name_bytes).len());
        }
    }
    whole
}

pub(super) fn profile(request: &ExportProfilesServiceRequest) -> Option<&proto::Profile> {
    request.resource_profiles.first()?.scope_profiles.first()?.profiles.first()
}

/// The same with these samples, the tables they need, and a new identity.
fn with_samples(
    whole: &ExportProfilesServiceRequest,
    samples: Vec<proto::Sample>,
) -> Option<ExportProfilesServiceRequest> {
    let (tables, samples) = subset(whole.dictionary.as_ref()?, samples);
    let resource = whole.resource_profiles.first()?;
    let scope = resource.scope_profiles.first()?;
    let profile = scope.profiles.first()?;
    let profile = proto::Profile {
        sample_type: profile.sample_type,
        samples,
        time_unix_nano: profile.time_unix_nano,
        duration_nano: profile.duration_nano,
        period_type: profile.period_type,
        period: profile.period,
        profile_id: profile_id(),
        ..Default::default()
    };
    let scope = proto::ScopeProfiles { scope: scope.scope.clone(), profiles: vec![profile], ..Default::default() };
    let resource = proto::ResourceProfiles {
        resource: resource.resource.clone(),
        scope_profiles: vec![scope],
        ..Default::default()
    };
    Some(request(vec![resource], tables))
}
