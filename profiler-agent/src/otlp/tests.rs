use super::*;
use crate::profile::{FrameKind, Function, Line, Location, Mapping, Process, Sample, Thread};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

fn profile(stacks: Vec<Box<[u32]>>, samples: Vec<Sample>) -> Profile {
    let function = |name: &str, file: &str| Function { name: name.into(), system_name: name.into(), file: file.into() };
    let line = |function, line| Line { function, line };
    let location = |mapping, address, kind, lines: &[Line]| Location { mapping, address, kind, lines: lines.into() };
    Profile {
        start_unix_ns: 1_700_000_000_000_000_000,
        duration_ns: 10_000_000_000,
        period_ns: 10_101_010,
        mappings: vec![
            Mapping { path: "/usr/bin/demo".into(), build_id: "00ff".into() },
            Mapping { path: "[kernel]".into(), build_id: "".into() },
        ],
        functions: vec![function("main", "main.c"), function("inlined", "main.h"), function("do_syscall_64", "")],
        locations: vec![
            location(0, 0x1000, FrameKind::Native, &[line(1, 7), line(0, 42)]),
            location(0, 0x1100, FrameKind::Native, &[line(0, 50)]),
            location(1, 0xffff_ffff_8100_0000, FrameKind::Kernel, &[line(2, 0)]),
        ],
        stacks,
        processes: vec![Process { pid: 12, start_ns: 5, name: "demo".into() }],
        threads: vec![
            Thread { process: 0, tid: 12, name: "demo".into() },
            Thread { process: 0, tid: 13, name: "worker".into() },
        ],
        services: vec![Service {
            name: "shop".into(),
            labels: vec![("k8s.pod.name".into(), "shop-1".into())],
            samples,
        }],
    }
}

fn sample(stack: u32, thread: u32, count: u64) -> Sample {
    Sample { stack, thread, count }
}

fn small() -> Profile {
    let stacks = vec![vec![2, 0, 1].into(), vec![1].into()];
    profile(stacks, vec![sample(0, 0, 3), sample(0, 1, 4), sample(1, 1, 5)])
}

fn only_profile(request: &ExportProfilesServiceRequest) -> &proto::Profile {
    &request.resource_profiles[0].scope_profiles[0].profiles[0]
}

fn labels(request: &ExportProfilesServiceRequest) -> Vec<(String, String)> {
    let attributes = &request.resource_profiles[0].resource.as_ref().unwrap().attributes;
    attributes.iter().map(|label| (label.key.clone(), string(label.value.as_ref()))).collect()
}

fn string(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match &value.unwrap().value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Every index leads to a row, every used location has an address and lines, every table starts with zero.
fn assert_valid(request: &ExportProfilesServiceRequest) {
    let tables = request.dictionary.as_ref().unwrap();
    let within = |index: i32, len: usize| assert!((index as usize) < len, "{index} of {len}");
    assert_eq!(tables.mapping_table[0], proto::Mapping::default());
    assert_eq!(tables.location_table[0], proto::Location::default());
    assert_eq!(tables.function_table[0], proto::Function::default());
    assert_eq!(tables.attribute_table[0], proto::KeyValueAndUnit::default());
    assert_eq!(tables.stack_table[0], proto::Stack::default());
    assert_eq!(tables.link_table, [proto::Link::default()]);
    assert_eq!(tables.string_table[..5], ["", "samples", "count", "cpu", "nanoseconds"]);
    for location in &tables.location_table[1..] {
        assert!(location.address != 0 && !location.lines.is_empty());
        within(location.mapping_index, tables.mapping_table.len());
        location.lines.iter().for_each(|line| within(line.function_index, tables.function_table.len()));
        location.attribute_indices.iter().for_each(|&index| within(index, tables.attribute_table.len()));
    }
    for function in &tables.function_table[1..] {
        assert!(function.name_strindex > 0);
        within(function.name_strindex, tables.string_table.len());
        within(function.system_name_strindex, tables.string_table.len());
        within(function.filename_strindex, tables.string_table.len());
    }
    for stack in &tables.stack_table[1..] {
        assert!(!stack.location_indices.is_empty());
        stack.location_indices.iter().for_each(|&index| within(index, tables.location_table.len()));
    }
    for sample in request.resource_profiles.iter().flat_map(|r| &r.scope_profiles[0].profiles[0].samples) {
        assert!(sample.stack_index > 0);
        within(sample.stack_index, tables.stack_table.len());
        sample.attribute_indices.iter().for_each(|&index| within(index, tables.attribute_table.len()));
    }
}

/// Function names of a sample, leaf first, with values.
fn stacks(request: &ExportProfilesServiceRequest) -> Vec<(i64, Vec<String>)> {
    let tables = request.dictionary.as_ref().unwrap();
    let name = |line: &proto::Line| {
        let function = &tables.function_table[line.function_index as usize];
        tables.string_table[function.name_strindex as usize].clone()
    };
    let samples = request.resource_profiles.iter().flat_map(|r| &r.scope_profiles[0].profiles[0].samples);
    samples
        .map(|sample| {
            let stack = &tables.stack_table[sample.stack_index as usize];
            let locations = stack.location_indices.iter().map(|&index| &tables.location_table[index as usize]);
            (sample.values[0], locations.flat_map(|location| &location.lines).map(name).collect())
        })
        .collect()
}

#[test]
fn one_part_per_service_with_stacks_merged_over_threads() {
    let parts = parts(&small(), &[], LabelStyle::Underscore, MAX_PART_BYTES);
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].samples, 12);
    let request = ExportProfilesServiceRequest::decode(parts[0].request.encode_to_vec().as_slice()).unwrap();
    assert_valid(&request);
    let expected = vec![
        (7, vec!["do_syscall_64".to_owned(), "inlined".into(), "main".into(), "main".into()]),
        (5, vec!["main".to_owned()]),
    ];
    assert_eq!(stacks(&request), expected);
    let profile = only_profile(&request);
    assert_eq!((profile.time_unix_nano, profile.duration_nano), (1_700_000_000_000_000_000, 10_000_000_000));
    assert_eq!(profile.period, 10_101_010);
    assert_eq!(profile.profile_id.len(), 16);
    let tables = request.dictionary.as_ref().unwrap();
    let unit = |unit: Option<proto::ValueType>| {
        let unit = unit.unwrap();
        (&*tables.string_table[unit.type_strindex as usize], &*tables.string_table[unit.unit_strindex as usize])
    };
    assert_eq!(unit(profile.sample_type), ("samples", "count"));
    assert_eq!(unit(profile.period_type), ("cpu", "nanoseconds"));
    assert!(profile.samples.iter().all(|sample| sample.attribute_indices.is_empty()), "would become labels");
}

#[test]
fn mapping_has_its_build_id_inline() {
    let parts = parts(&small(), &[], LabelStyle::Underscore, MAX_PART_BYTES);
    let tables = parts[0].request.dictionary.as_ref().unwrap();
    let path = |mapping: &proto::Mapping| tables.string_table[mapping.filename_strindex as usize].clone();
    let mapping = tables.mapping_table.iter().find(|mapping| path(mapping) == "/usr/bin/demo").unwrap();
    let attribute = &tables.attribute_table[mapping.attribute_indices[0] as usize];
    assert_eq!(tables.string_table[attribute.key_strindex as usize], "process.executable.build_id.gnu");
    assert_eq!(string(attribute.value.as_ref()), "00ff");
}

#[test]
fn label_style_and_precedence() {
    let resource = [
        ("host.name".into(), "h".into()),
        ("k8s.pod.name".into(), "other".into()),
        ("service.name".into(), "other".into()),
        ("__name__".into(), "evil".into()),
        ("9lives-x".into(), "cat".into()),
        ("empty".into(), "".into()),
    ];
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let underscore = parts(&small(), &resource, LabelStyle::Underscore, MAX_PART_BYTES);
    let expected = [
        pair("service.name", "shop"),
        pair("k8s_pod_name", "shop-1"),
        pair("host_name", "h"),
        pair("_9lives_x", "cat"),
    ];
    assert_eq!(labels(&underscore[0].request), expected);
    let dot = parts(&small(), &resource, LabelStyle::Dot, MAX_PART_BYTES);
    let expected =
        [pair("service.name", "shop"), pair("k8s.pod.name", "shop-1"), pair("host.name", "h"), pair("9lives-x", "cat")];
    assert_eq!(labels(&dot[0].request), expected);
}

#[test]
fn labels_are_bounded() {
    let resource: Vec<_> = (0..100).map(|n| (format!("key{n}").into(), "ä".repeat(5000).into())).collect();
    let parts = parts(&small(), &resource, LabelStyle::Underscore, MAX_PART_BYTES);
    let found = labels(&parts[0].request);
    assert_eq!(found.len(), labels::MAX_LABELS);
    assert!(found.iter().all(|(_, value)| value.len() <= 2048));
    assert_eq!(parts[0].request.resource_profiles[0].resource.as_ref().unwrap().dropped_attributes_count, 78);
}

#[test]
fn splitting_by_size_keeps_every_sample() {
    let stacks: Vec<Box<[u32]>> = (0..5000).map(|n| vec![n % 3; 1 + n as usize % 50].into()).collect();
    let samples = (0..5000).map(|n| sample(n, n % 2, u64::from(n) + 1)).collect();
    let profile = profile(stacks, samples);
    let parts = parts(&profile, &[], LabelStyle::Underscore, 20_000);
    assert!(parts.len() > 4, "{}", parts.len());
    assert!(parts.iter().all(|part| part.request.encoded_len() <= 20_000));
    parts.iter().for_each(|part| assert_valid(&part.request));
    assert_eq!(parts.iter().map(|part| part.samples).sum::<u64>(), 5000 * 5001 / 2);
    let ids: std::collections::HashSet<_> =
        parts.iter().map(|part| only_profile(&part.request).profile_id.clone()).collect();
    assert_eq!(ids.len(), parts.len());
}

#[test]
fn splitting_by_number_of_stacks() {
    let stacks: Vec<Box<[u32]>> = (0..16_001).map(|_| vec![1].into()).collect();
    let profile = profile(stacks, (0..16_001).map(|n| sample(n, 0, 1)).collect());
    let parts = parts(&profile, &[], LabelStyle::Underscore, MAX_PART_BYTES);
    assert_eq!(parts.iter().map(|part| part.samples).collect::<Vec<_>>(), [8000, 8001]);
}

#[test]
fn a_deep_stack_keeps_leaf_and_root() {
    let mut stack = vec![0; 1151];
    stack[0] = 2;
    stack[1150] = 1;
    let parts = parts(&profile(vec![stack.into()], vec![sample(0, 0, 9)]), &[], LabelStyle::Dot, MAX_PART_BYTES);
    assert_valid(&parts[0].request);
    let tables = parts[0].request.dictionary.as_ref().unwrap();
    assert_eq!(tables.stack_table[1].location_indices.len(), MAX_DEPTH);
    let (count, names) = stacks(&parts[0].request).remove(0);
    assert_eq!((count, &*names[0], &*names[names.len() - 1]), (9, "do_syscall_64", "main"));
    assert_eq!(names.iter().filter(|name| *name == dictionary::TRUNCATED).count(), 1);
}

#[test]
fn a_stack_without_frames_is_kept() {
    let parts =
        parts(&profile(vec![vec![].into()], vec![sample(0, 0, 2)]), &[], LabelStyle::Underscore, MAX_PART_BYTES);
    assert_valid(&parts[0].request);
    assert_eq!(stacks(&parts[0].request), [(2, vec![dictionary::UNKNOWN.to_owned()])]);
}

#[test]
fn a_single_stack_of_huge_names_fits() {
    let mut profile = profile(vec![(0..1100).collect()], vec![sample(0, 0, 6)]);
    let name = |n: u32| format!("{n}{}", "é".repeat(40_000)).into();
    profile.functions =
        (0..1100).map(|n| Function { name: name(n), system_name: name(n + 5000), file: name(n + 9000) }).collect();
    profile.locations = (0..1100)
        .map(|n| Location {
            mapping: 0,
            address: 4096,
            kind: FrameKind::Native,
            lines: (0..40).map(|k| Line { function: (n + k) % 1100, line: 1 }).collect(),
        })
        .collect();
    let parts = parts(&profile, &[], LabelStyle::Underscore, MAX_PART_BYTES);
    assert_eq!((parts.len(), parts[0].samples), (1, 6));
    assert!(parts[0].request.encoded_len() <= MAX_PART_BYTES);
    assert_valid(&parts[0].request);
}

#[test]
fn whole_keeps_threads_apart() {
    let mut profile = small();
    profile.services.push(Service { name: "other".into(), labels: Vec::new(), samples: vec![sample(1, 0, 1)] });
    let request = whole(&profile, &[], LabelStyle::Dot);
    let request = ExportProfilesServiceRequest::decode(request.encode_to_vec().as_slice()).unwrap();
    assert_valid(&request);
    assert_eq!(sample_count(&request), 13);
    assert_eq!(request.resource_profiles.len(), 2);
    let tables = request.dictionary.as_ref().unwrap();
    let attributes: Vec<_> = only_profile(&request).samples[1]
        .attribute_indices
        .iter()
        .map(|&index| &tables.attribute_table[index as usize])
        .map(|row| format!("{}={}", tables.string_table[row.key_strindex as usize], string(row.value.as_ref())))
        .collect();
    assert_eq!(attributes, ["process.pid=12", "thread.id=13", "thread.name=worker"]);
}

#[test]
fn services_without_samples_send_nothing() {
    let profile = profile(vec![vec![1].into()], vec![sample(0, 0, 0)]);
    assert!(parts(&profile, &[], LabelStyle::Underscore, MAX_PART_BYTES).is_empty());
}

#[test]
fn clips_at_characters() {
    assert_eq!(clip("aäb", 2), "a");
    assert_eq!(clip("aäb", 3), "aä");
    assert_eq!(clip("ab", 9), "ab");
}
