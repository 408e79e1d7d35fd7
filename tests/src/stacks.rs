//! `profiler-agent record` as a user runs it, and every stack it wrote, frame by frame with addresses.

use crate::agent::{binary, ledger_line};
use crate::stub::profiles;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::profiles::v1development::{self as otlp, Location, ProfilesDictionary};
use prost::Message as _;
use std::collections::HashMap;
use std::process::Command;
use std::rc::Rc;

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function, without what was inlined into it.
    pub name: String,
    /// File name of the executable or library.
    pub module: String,
    /// The same with its folders.
    pub path: String,
    /// As in that file.
    pub address: u64,
    /// Whether it is the kernel's.
    pub kernel: bool,
}

/// Samples of one thread with one stack.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Innermost first.
    pub frames: Rc<[Frame]>,
    /// How many.
    pub count: u64,
}

/// A recording that ended well.
#[derive(Debug)]
pub struct Recording {
    /// All samples.
    pub samples: Vec<Sample>,
    /// What the recorded command wrote to standard output.
    pub stdout: String,
    /// Table and ledger.
    pub stderr: String,
}

impl Recording {
    /// `record ARGUMENTS` at 997 Hz.
    #[must_use]
    pub fn new<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the recording");
        let file = folder.path().join("recorded.otlp");
        let mut command = Command::new(binary());
        command.args(["record", "--frequency", "997", "--output"]).arg(&file).args(arguments);
        let output = command.output().expect("the agent starts");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
        let bytes = std::fs::read(&file).expect("the recording is written");
        let samples = read(&ExportProfilesServiceRequest::decode(&*bytes).expect("an OTLP request"));
        let recording = Self { samples, stdout, stderr };
        let [taken, exported, spooled, pending, dropped] = ledger_line(&recording.stderr);
        assert_eq!((exported, spooled, pending, dropped), (taken, 0, 0, 0), "{}", recording.stderr);
        recording
    }

    /// The samples of one process.
    pub fn of(&self, pid: u32) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.pid == pid)
    }
}

/// All samples of a request.
fn read(request: &ExportProfilesServiceRequest) -> Vec<Sample> {
    let Some(tables) = &request.dictionary else { return Vec::new() };
    let samples = profiles(request).flat_map(|profile| &profile.samples);
    let sample = |(sample, (frames, count)): (&otlp::Sample, _)| Sample {
        pid: number(tables, &sample.attribute_indices, "process.pid"),
        tid: number(tables, &sample.attribute_indices, "thread.id"),
        frames,
        count,
    };
    samples.zip(stacks(request)).map(sample).collect()
}

/// The stack of each sample of a request, and how many it stands for.
#[must_use]
pub fn stacks(request: &ExportProfilesServiceRequest) -> Vec<(Rc<[Frame]>, u64)> {
    let Some(tables) = &request.dictionary else { return Vec::new() };
    let frames: Vec<Frame> = tables.location_table.iter().map(|location| frame(tables, location)).collect();
    let mut stacks: HashMap<i32, Rc<[Frame]>> = HashMap::new();
    let mut stack = |index: i32| {
        let locations = || tables.stack_table[index as usize].location_indices.iter();
        Rc::clone(stacks.entry(index).or_insert_with(|| locations().map(|at| frames[*at as usize].clone()).collect()))
    };
    let samples = profiles(request).flat_map(|profile| &profile.samples);
    samples.map(|sample| (stack(sample.stack_index), sample.values.iter().sum::<i64>().unsigned_abs())).collect()
}

/// The last line is the function that others were inlined into.
fn frame(tables: &ProfilesDictionary, location: &Location) -> Frame {
    let text = |index: i32| tables.string_table[index as usize].clone();
    let function = location.lines.last().map(|line| &tables.function_table[line.function_index as usize]);
    let path = text(tables.mapping_table[location.mapping_index as usize].filename_strindex);
    let kind = attribute(tables, &location.attribute_indices, "profile.frame.type");
    Frame {
        name: function.map(|function| text(function.name_strindex)).unwrap_or_default(),
        module: path.rsplit('/').next().unwrap_or_default().to_owned(),
        path,
        address: location.address,
        kernel: kind == Some(&Value::StringValue("kernel".into())),
    }
}

fn number(tables: &ProfilesDictionary, indices: &[i32], key: &str) -> u32 {
    match attribute(tables, indices, key) {
        Some(Value::IntValue(value)) => u32::try_from(*value).expect("an id"),
        other => panic!("{key} is {other:?}"),
    }
}

fn attribute<'a>(tables: &'a ProfilesDictionary, indices: &[i32], key: &str) -> Option<&'a Value> {
    let mut attributes = indices.iter().map(|index| &tables.attribute_table[*index as usize]);
    let found = attributes.find(|attribute| tables.string_table[attribute.key_strindex as usize] == key)?;
    found.value.as_ref()?.value.as_ref()
}
