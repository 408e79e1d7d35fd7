//! `record` in every format, each read back by a reader that is not ours.

use inferno::flamegraph;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{Profile, ProfilesDictionary, ValueType};
use profiler_tests::agent::{binary, ledger_line};
use profiler_tests::stub::{profiles, sum};
use profiler_tests::workload::{Running, compile_c};
use prost::Message as _;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Rounded down, as the agent does.
const PERIOD_NS: u64 = 1_000_000_000 / 997;
const FUNCTIONS: [(&str, f64); 3] = [("alpha", 0.5), ("beta", 0.3), ("gamma_", 0.2)];

fn record(pid: u32, duration: &str, file: &Path) -> Output {
    let mut command = Command::new(binary());
    command.args(["record", "--frequency", "997", "--duration", duration, "--pid", &pid.to_string(), "--output"]);
    command.arg(file).output().expect("the agent starts")
}

/// A recording of two seconds of the burning program.
struct Recorded {
    file: PathBuf,
    exported: u64,
    stderr: String,
    _folder: TempDir,
}

impl Recorded {
    fn new(extension: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let burner = Running::start(&compile_c(folder.path(), "burn.c", &[]), &[]);
        let file = folder.path().join(format!("recording{extension}"));
        let output = record(burner.pid(), "2s", &file);
        let stderr = String::from_utf8(output.stderr).expect("text on standard error");
        assert!(output.status.success(), "{stderr}");
        let [taken, exported, spooled, pending, dropped] = ledger_line(&stderr);
        assert_eq!((taken, spooled, pending, dropped), (exported, 0, 0, 0), "{stderr}");
        // Other tests may run on the same CPUs.
        assert!(exported > 200, "{stderr}");
        Self { file, exported, stderr, _folder: folder }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).expect("a text file")
    }
}

/// `go tool pprof`'s report.
fn pprof(arguments: &[&str], file: &Path) -> String {
    let mut go = Command::new("go");
    let output = go.args(["tool", "pprof"]).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("Go's pprof is needed to read profiles back: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Shares of these functions, with room for a few hundred samples' noise: exact shares are another test's.
fn assert_shares(counts: &BTreeMap<String, u64>, total: u64) {
    for (name, share) in FUNCTIONS {
        let found = counts.get(name).copied().unwrap_or(0) as f64 / total as f64;
        assert!((found - share).abs() < 0.15, "{name} has {found:.3} of {total}: {counts:?}");
    }
}

#[test]
fn go_pprof_reads_the_pprof_file() {
    let recorded = Recorded::new(".pb.gz");
    let top = pprof(&["-top", "-sample_index=cpu", "-unit=ns", "-nodecount=500", "-nodefraction=0"], &recorded.file);
    let total = top.split("Total samples = ").nth(1).and_then(|rest| rest.split("ns").next()).expect("a total");
    assert_eq!(total.parse::<u64>(), Ok(recorded.exported * PERIOD_NS), "{top}");
    let flat = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let value = words.first()?.trim_end_matches("ns").parse().ok()?;
        (words.len() > 5).then(|| (words[5..].join(" "), value))
    };
    let flat: BTreeMap<String, u64> = top.lines().skip_while(|line| !line.contains("flat%")).filter_map(flat).collect();
    assert_shares(&flat, recorded.exported * PERIOD_NS);
    let raw = pprof(&["-raw"], &recorded.file);
    assert!(raw.contains("PeriodType: cpu nanoseconds") && raw.contains(&format!("Period: {PERIOD_NS}")), "{raw}");
    // Lines of samples: `count nanoseconds: locations`.
    let sample = |line: &str| {
        let mut values = line.split_once(':')?.0.split_whitespace().map(str::parse);
        Some((values.next()?.ok()?, values.next()?.ok()?))
    };
    let samples: Vec<(u64, u64)> = raw.lines().take_while(|line| *line != "Locations").filter_map(sample).collect();
    assert_eq!(samples.iter().map(|(count, _)| count).sum::<u64>(), recorded.exported, "{raw}");
    assert!(samples.iter().all(|(count, cpu_ns)| count * PERIOD_NS == *cpu_ns), "{raw}");
}

#[test]
fn inferno_reads_the_collapsed_file() {
    let recorded = Recorded::new(".folded");
    let text = recorded.text();
    let (mut leaves, mut total) = (BTreeMap::new(), 0);
    for line in text.lines() {
        let (stack, count) = line.rsplit_once(' ').expect("stack and count");
        let count: u64 = count.parse().expect("a count");
        let leaf = stack.rsplit(';').next().expect("a leaf");
        *leaves.entry(leaf.to_owned()).or_default() += count;
        total += count;
    }
    assert_eq!(total, recorded.exported);
    assert_shares(&leaves, total);
    let mut graph = Vec::new();
    flamegraph::from_lines(&mut flamegraph::Options::default(), text.lines(), &mut graph).expect("inferno reads it");
    assert_eq!(Graph::parse(&graph).total_samples, Some(recorded.exported), "inferno left lines out");
}

/// A flame graph as an XML parser sees it.
#[derive(Default)]
struct Graph {
    total_samples: Option<u64>,
    texts: Vec<String>,
}

impl Graph {
    /// Panics where it is not well-formed.
    fn parse(document: &[u8]) -> Self {
        let mut reader = Reader::from_reader(document);
        reader.config_mut().check_comments = true;
        let (mut graph, mut depth) = (Self::default(), 0);
        loop {
            match reader.read_event().expect("well-formed XML") {
                Event::Start(element) => {
                    assert!(depth > 0 || element.name().0 == b"svg", "the root is an svg");
                    depth += 1;
                    graph.attributes(&element);
                }
                Event::Empty(element) => graph.attributes(&element),
                Event::End(_) => depth -= 1,
                Event::Text(text) => graph.texts.push(text.decode().expect("UTF-8").into_owned()),
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0, "every element ends");
        graph
    }

    fn attributes(&mut self, element: &quick_xml::events::BytesStart<'_>) {
        for attribute in element.attributes() {
            let attribute = attribute.expect("a well-formed attribute");
            if attribute.key.as_ref() == b"total_samples" {
                let text = std::str::from_utf8(&attribute.value).expect("UTF-8");
                self.total_samples = Some(text.parse().expect("a number"));
            }
        }
    }
}

#[test]
fn the_flame_graph_is_xml_and_names_the_functions() {
    let recorded = Recorded::new(".svg");
    let graph = Graph::parse(recorded.text().as_bytes());
    assert_eq!(graph.total_samples, Some(recorded.exported));
    for (name, _) in FUNCTIONS {
        let with_count = format!("{name} (");
        assert!(graph.texts.iter().any(|text| text.starts_with(&with_count)), "no {name}: {:?}", graph.texts);
    }
}

fn dictionary(request: &ExportProfilesServiceRequest) -> &ProfilesDictionary {
    request.dictionary.as_ref().expect("a dictionary")
}

fn string(dictionary: &ProfilesDictionary, index: i32) -> &str {
    &dictionary.string_table[usize::try_from(index).expect("an index")]
}

fn named(dictionary: &ProfilesDictionary, value_type: Option<&ValueType>) -> (String, String) {
    let value_type = value_type.expect("a type");
    let text = |index| string(dictionary, index).to_owned();
    (text(value_type.type_strindex), text(value_type.unit_strindex))
}

/// Samples by the innermost function's name.
fn leaves(dictionary: &ProfilesDictionary, profile: &Profile) -> BTreeMap<String, u64> {
    let mut leaves = BTreeMap::new();
    for sample in &profile.samples {
        let stack = &dictionary.stack_table[sample.stack_index as usize];
        let location = &dictionary.location_table[stack.location_indices[0] as usize];
        let function = &dictionary.function_table[location.lines[0].function_index as usize];
        let name = string(dictionary, function.name_strindex).to_owned();
        *leaves.entry(name).or_default() += sample.values.iter().sum::<i64>() as u64;
    }
    leaves
}

fn assert_otlp(request: &ExportProfilesServiceRequest, exported: u64) {
    assert_eq!(sum(request), exported);
    let dictionary = dictionary(request);
    let mut all = BTreeMap::new();
    for profile in profiles(request) {
        assert_eq!(profile.period, i64::try_from(PERIOD_NS).expect("small"));
        assert_eq!(named(dictionary, profile.period_type.as_ref()), ("cpu".into(), "nanoseconds".into()));
        assert_eq!(named(dictionary, profile.sample_type.as_ref()), ("samples".into(), "count".into()));
        assert!(profile.time_unix_nano > 1_600_000_000_000_000_000 && profile.duration_nano > 1_900_000_000);
        leaves(dictionary, profile).into_iter().for_each(|(name, count)| *all.entry(name).or_default() += count);
    }
    assert_shares(&all, exported);
}

#[test]
fn opentelemetry_proto_decodes_the_otlp_file() {
    let recorded = Recorded::new(".otlp");
    let bytes = std::fs::read(&recorded.file).expect("the file");
    let request = ExportProfilesServiceRequest::decode(bytes.as_slice()).expect("an OTLP request");
    assert_otlp(&request, recorded.exported);
}

/// Numbers of 64 bits: strings in ProtoJSON, which opentelemetry-proto's derived reader does not know.
const WIDE: [&str; 11] = [
    "address",
    "column",
    "durationNano",
    "fileOffset",
    "line",
    "memoryLimit",
    "memoryStart",
    "period",
    "startLine",
    "timeUnixNano",
    "values",
];
/// Bytes: strings in ProtoJSON, arrays for that reader. Empty in what we write.
const BYTES: [&str; 3] = ["originalPayload", "spanId", "traceId"];

fn otlp_json(text: &str) -> ExportProfilesServiceRequest {
    let mut json: Value = serde_json::from_str(text).expect("JSON");
    adapt(&mut json);
    serde_json::from_value(json).expect("an OTLP/JSON request")
}

/// From ProtoJSON, which it must be, to what the reader takes.
fn adapt(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(adapt),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Array(items) if key == "values" => items.iter_mut().for_each(widen),
                    value if WIDE.contains(&key.as_str()) => widen(value),
                    Value::String(bytes) if BYTES.contains(&key.as_str()) => {
                        assert_eq!(bytes, "", "{key}");
                        *value = Value::Array(Vec::new());
                    }
                    value => adapt(value),
                }
            }
        }
        _ => {}
    }
}

fn widen(value: &mut Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is a number of 64 bits and no string"));
    *value = text.parse::<i128>().ok().and_then(serde_json::Number::from_i128).expect("a number").into();
}

#[test]
fn opentelemetry_proto_decodes_the_json_file() {
    let recorded = Recorded::new(".json");
    assert_otlp(&otlp_json(&recorded.text()), recorded.exported);
}

#[test]
fn the_table_on_standard_error_starts_with_the_hottest_function() {
    let recorded = Recorded::new(".folded");
    let head = recorded.stderr.lines().position(|line| line.starts_with("self %"));
    let rows: Vec<&str> = recorded.stderr.lines().skip(head.expect("a table") + 1).collect();
    for (row, (name, _)) in rows.iter().zip(FUNCTIONS) {
        assert!(row.split_whitespace().any(|word| word == name), "no {name} in {row:?}:\n{}", recorded.stderr);
    }
    let last = recorded.stderr.lines().last().expect("a last line");
    assert!(last.contains("samples taken ="), "{}", recorded.stderr);
}

#[test]
fn without_samples_every_file_is_empty_and_valid() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sleeper = Running::start(Path::new("sleep"), &["60"]);
    let written = |extension: &str| {
        let file = folder.path().join(format!("empty{extension}"));
        let output = record(sleeper.pid(), "200ms", &file);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{extension}: {stderr}");
        assert!(stderr.contains("WARN") && stderr.contains("no samples"), "{extension}: {stderr}");
        assert_eq!(ledger_line(&stderr), [0; 5], "{extension}");
        file
    };
    let raw = pprof(&["-raw"], &written(".pb.gz"));
    assert!(raw.contains("PeriodType: cpu nanoseconds") && raw.contains("samples/count"), "{raw}");
    let text = |file: PathBuf| std::fs::read_to_string(file).expect("the file");
    assert_eq!(text(written(".folded")), "");
    let graph = Graph::parse(text(written(".svg")).as_bytes());
    assert!(graph.texts.iter().any(|text| text.contains("no samples")), "{:?}", graph.texts);
    let bytes = std::fs::read(written(".otlp")).expect("the file");
    assert_eq!(ExportProfilesServiceRequest::decode(bytes.as_slice()).map(|request| sum(&request)), Ok(0));
    assert_eq!(sum(&otlp_json(&text(written(".json")))), 0);
}

#[test]
fn an_output_that_cannot_be_written_is_known_before_recording() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("file"), "").expect("a file");
    for file in ["missing/out.svg", "file/out.folded", "/proc/out.pb.gz"] {
        let started = Instant::now();
        let file = folder.path().join(file);
        let output = record(std::process::id(), "20s", &file);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&file.display().to_string()), "{stderr}");
        assert!(started.elapsed() < Duration::from_secs(5), "it recorded first");
    }
}
