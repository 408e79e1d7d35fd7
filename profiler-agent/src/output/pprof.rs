//! pprof's gzip'd `profile.proto`, which `go tool pprof`, Pyroscope and speedscope read.

use super::pprof_proto::{Function, Label, Line, Location, Mapping, Profile as Proto, Sample, ValueType};
use super::text::{self, printable};
use crate::profile::{self, Profile, Service};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write as _};

/// The profile with two values per sample, samples/count and cpu/nanoseconds, and with the labels `service`, `process`,
/// `pid`, `thread`, `tid` and those of the service.
///
/// # Errors
/// Compression failed, which it does not in memory.
pub fn pprof(profile: &Profile) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&message(profile).encode_to_vec())?;
    gzip.finish()
}

fn message(profile: &Profile) -> Proto {
    let mut strings = Strings::default();
    strings.intern("");
    let samples = ValueType { r#type: strings.intern("samples"), unit: strings.intern("count") };
    let cpu = ValueType { r#type: strings.intern("cpu"), unit: strings.intern("nanoseconds") };
    let mut proto = Proto {
        sample_type: vec![samples, cpu],
        sample: self::samples(profile, &mut strings),
        mapping: mappings(profile, &mut strings),
        location: locations(profile),
        function: functions(profile, &mut strings),
        string_table: Vec::new(),
        time_nanos: signed(profile.start_unix_ns),
        duration_nanos: signed(profile.duration_ns),
        period_type: Some(cpu),
        period: signed(profile.period_ns),
        default_sample_type: cpu.r#type,
    };
    proto.string_table = strings.table;
    proto
}

#[derive(Default)]
struct Strings {
    table: Vec<String>,
    indices: HashMap<String, i64>,
}

impl Strings {
    fn intern(&mut self, text: &str) -> i64 {
        let text: Cow<'_, str> = printable(text);
        if let Some(&index) = self.indices.get(text.as_ref()) {
            return index;
        }
        let index = self.table.len() as i64;
        self.table.push(text.clone().into_owned());
        self.indices.insert(text.into_owned(), index);
        index
    }
}

/// Ids are indices from 1 on; 0 means none.
fn id(index: u32) -> u64 {
    u64::from(index) + 1
}

fn ids() -> impl Iterator<Item = u64> {
    1..
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn samples(profile: &Profile, strings: &mut Strings) -> Vec<Sample> {
    let mut samples = Vec::new();
    for service in &profile.services {
        let of_service = service_labels(service, strings);
        for ((stack, thread), count) in distinct(service) {
            let mut label = thread_labels(profile, thread, strings);
            label.extend_from_slice(&of_service);
            samples.push(Sample {
                location_id: profile.stacks[stack as usize].iter().map(|&location| id(location)).collect(),
                value: vec![signed(count), signed(count.saturating_mul(profile.period_ns))],
                label,
            });
        }
    }
    samples
}

/// Counts by stack and thread, in the order of first appearance.
fn distinct(service: &Service) -> Vec<((u32, u32), u64)> {
    let mut positions = HashMap::with_capacity(service.samples.len());
    let mut counts: Vec<((u32, u32), u64)> = Vec::with_capacity(service.samples.len());
    for &profile::Sample { stack, thread, count } in &service.samples {
        let position = *positions.entry((stack, thread)).or_insert(counts.len());
        match counts.get_mut(position) {
            Some((_, sum)) => *sum += count,
            None => counts.push(((stack, thread), count)),
        }
    }
    counts
}

fn service_labels(service: &Service, strings: &mut Strings) -> Vec<Label> {
    let mut label = |key: &str, value: &str| Label { key: strings.intern(key), str: strings.intern(value), num: 0 };
    let mut labels = vec![label("service", &text::name(&service.name))];
    labels.extend(service.labels.iter().map(|(key, value)| label(&text::name(key), value)));
    labels
}

fn thread_labels(profile: &Profile, thread: u32, strings: &mut Strings) -> Vec<Label> {
    let thread = &profile.threads[thread as usize];
    let process = &profile.processes[thread.process as usize];
    vec![
        Label { key: strings.intern("process"), str: strings.intern(&text::name(&process.name)), num: 0 },
        Label { key: strings.intern("pid"), str: 0, num: i64::from(process.pid) },
        Label { key: strings.intern("thread"), str: strings.intern(&text::name(&thread.name)), num: 0 },
        Label { key: strings.intern("tid"), str: 0, num: i64::from(thread.tid) },
    ]
}

fn mappings(profile: &Profile, strings: &mut Strings) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = profile
        .mappings
        .iter()
        .zip(ids())
        .map(|(mapping, id)| Mapping {
            id,
            // Go's pprof merges mappings of equal range that do not differ in name, and a missing name never differs.
            filename: strings.intern(&text::name(&mapping.path)),
            build_id: strings.intern(&mapping.build_id),
            has_functions: true,
            ..Mapping::default()
        })
        .collect();
    for location in &profile.locations {
        let mapping = &mut mappings[location.mapping as usize];
        mapping.has_inline_frames |= location.lines.len() > 1;
        for line in &location.lines {
            mapping.has_line_numbers |= line.line > 0;
            mapping.has_filenames |= !profile.functions[line.function as usize].file.is_empty();
        }
    }
    mappings
}

fn locations(profile: &Profile) -> Vec<Location> {
    let line = |line: &profile::Line| Line { function_id: id(line.function), line: i64::from(line.line) };
    profile
        .locations
        .iter()
        .zip(ids())
        .map(|(location, own)| Location {
            id: own,
            mapping_id: id(location.mapping),
            address: location.address,
            line: location.lines.iter().map(line).collect(),
        })
        .collect()
}

fn functions(profile: &Profile, strings: &mut Strings) -> Vec<Function> {
    profile
        .functions
        .iter()
        .zip(ids())
        .map(|(function, id)| Function {
            id,
            name: strings.intern(&text::name(&function.name)),
            system_name: strings.intern(&text::name(&function.system_name)),
            filename: strings.intern(&function.file),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, HOSTILE, Named};
    use super::*;
    use crate::aggregate::merge::merge;
    use std::process::Command;

    /// What Go's pprof prints of the profile.
    fn go_pprof(profile: &Profile, arguments: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.pb.gz");
        std::fs::write(&path, pprof(profile).unwrap()).unwrap();
        let output = Command::new("go")
            .args(["tool", "pprof", "-symbolize=none"])
            .args(arguments)
            .arg(&path)
            .env("PPROF_TMPDIR", folder.path())
            .output()
            .expect("the go tool chain, which has the pprof reader, must be installed");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Lines with runs of blanks made one.
    fn squeezed(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn go_reads_functions_and_time() {
        let lines = squeezed(&go_pprof(&fixture::profile(), &["-top"]));
        assert!(lines.contains(&"Type: cpu".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"Duration: 1s, Total samples = 770ms (77.00%)".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"500ms 64.94% 64.94% 500ms 64.94% inlined (inline)".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"0 0% 100% 700ms 90.91% handle".to_owned()), "{lines:#?}");
        let samples = squeezed(&go_pprof(&fixture::profile(), &["-top", "-sample_index=samples"]));
        assert!(samples.contains(&"50 64.94% 64.94% 50 64.94% inlined (inline)".to_owned()), "{samples:#?}");
    }

    #[test]
    fn go_reads_tables_and_labels() {
        let text = go_pprof(&fixture::profile(), &["-raw"]);
        let lines = squeezed(&text);
        for expected in [
            "PeriodType: cpu nanoseconds",
            "Period: 10000000",
            "samples/count cpu/nanoseconds[dflt]",
            "30 300000000: 2 1",
            "20 200000000: 5 4 3 1",
            "2: 0x1100 M=1 inlined :20:0 s=0()",
            "handle src/web.rs:10:0 s=0(_ZN3web6handleEv)",
            "5: 0xffffffff81000000 M=2 ksys_write :40:0 s=0",
            "k8s.pod.name:[shop-1] process:[web] service:[shop] thread:[pool-1]",
            "1: 0x0/0x0/0x0 /usr/bin/web 0123abcd [FN][FL][LN][IN]",
        ] {
            let found = lines.iter().any(|line| line.trim_end_matches("()") == expected.trim_end_matches("()"));
            assert!(found, "{expected}\n{text}");
        }
        // Equal stacks of one thread are one sample.
        assert_eq!(lines.iter().filter(|line| line.starts_with("20 200000000: 2 1")).count(), 1, "{text}");
    }

    #[test]
    fn go_reads_a_profile_without_samples() {
        let text = go_pprof(&Profile::default(), &["-raw"]);
        assert!(text.contains("samples/count cpu/nanoseconds"), "{text}");
    }

    #[test]
    fn go_reads_hostile_names() {
        let profiles: Vec<Profile> = HOSTILE
            .iter()
            .map(|name| {
                fixture::named(&Named { process: name, thread: name, service: name, function: name, mapping: name })
            })
            .collect();
        let text = go_pprof(&merge(&profiles), &["-top", "-nodecount=1000"]);
        let total = format!("Total samples = {}ms", 100 * HOSTILE.len());
        assert!(text.contains(&total), "{text}");
        for name in ["<img src=x onerror=alert(1)>", "a;b;c", "a\u{fffd}b", "operator new 12", "\u{fffd}txt.exe"] {
            let row = |line: &str| line.contains("100ms") && line.ends_with(&format!(" {name}"));
            assert!(text.lines().any(row), "{name:?}: {text}");
        }
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
    }

    #[test]
    fn values_too_large_saturate() {
        let mut profile = fixture::profile();
        profile.services[0].samples[0].count = u64::MAX / 2;
        let sample = &message(&profile).sample[0];
        assert_eq!(sample.value, [i64::MAX, i64::MAX]);
    }
}
