//! The dictionary of a whole profile: table index = index in the profile + 1, index 0 is the zero value.

use super::clip;
use crate::profile::{FrameKind, Location, Mapping, Profile};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development as proto;
use std::collections::HashMap;

/// Bytes of a name that are kept; Pyroscope cuts the front off symbols above 65,535.
pub(super) const MAX_NAME_BYTES: usize = 8192;
/// Bytes of an attribute value inside the dictionary that are kept.
const MAX_VALUE_BYTES: usize = 256;
/// Name of the frame that stands for what was cut out of a stack too deep for the server.
pub(super) const TRUNCATED: &str = "[truncated]";
/// Name of the frame of a stack without frames: the server leaves a sample without locations out.
pub(super) const UNKNOWN: &str = "[unknown]";

/// Indices of the strings that stand first.
const FIRST_STRINGS: [&str; 5] = ["", "samples", "count", "cpu", "nanoseconds"];
pub(super) const SAMPLES_COUNT: proto::ValueType = proto::ValueType { type_strindex: 1, unit_strindex: 2 };
pub(super) const CPU_NANOSECONDS: proto::ValueType = proto::ValueType { type_strindex: 3, unit_strindex: 4 };

pub(super) struct Dictionary<'a> {
    profile: &'a Profile,
    max_depth: usize,
    tables: proto::ProfilesDictionary,
    strings: HashMap<&'a str, i32>,
    frame_types: HashMap<FrameKind, i32>,
    markers: HashMap<&'static str, i32>,
    processes: HashMap<u32, i32>,
    threads: HashMap<u32, Vec<i32>>,
    /// By index of the profile, 0 while not yet in the table.
    stacks: Vec<i32>,
}

impl<'a> Dictionary<'a> {
    /// Mappings, functions and locations; stacks and threads follow as they are asked for.
    pub(super) fn new(profile: &'a Profile, max_depth: usize) -> Self {
        let mut dictionary = Self {
            profile,
            max_depth,
            tables: zero_tables(),
            strings: HashMap::new(),
            frame_types: HashMap::new(),
            markers: HashMap::new(),
            processes: HashMap::new(),
            threads: HashMap::new(),
            stacks: vec![0; profile.stacks.len()],
        };
        for string in FIRST_STRINGS {
            dictionary.string(string);
        }
        for mapping in &profile.mappings {
            dictionary.mapping(mapping);
        }
        for function in &profile.functions {
            let function = proto::Function {
                name_strindex: dictionary.string(&function.name),
                system_name_strindex: dictionary.string(&function.system_name),
                filename_strindex: dictionary.string(&function.file),
                start_line: 0,
            };
            dictionary.tables.function_table.push(function);
        }
        for location in &profile.locations {
            dictionary.location(location);
        }
        dictionary
    }

    pub(super) fn finish(self) -> proto::ProfilesDictionary {
        self.tables
    }

    /// The index of a stack of the profile.
    pub(super) fn stack(&mut self, stack: u32) -> i32 {
        let slot = stack as usize;
        if self.stacks[slot] == 0 {
            let location_indices = self.location_indices(&self.profile.stacks[slot]);
            self.stacks[slot] = push(&mut self.tables.stack_table, proto::Stack { location_indices });
        }
        self.stacks[slot]
    }

    /// A stack that is too deep loses its middle: the leaf has the time, the root is where the flame graph starts.
    fn location_indices(&mut self, stack: &[u32]) -> Vec<i32> {
        if stack.is_empty() {
            return vec![self.marker(UNKNOWN)];
        }
        if stack.len() <= self.max_depth {
            return stack.iter().map(|&location| plus_one(location)).collect();
        }
        let leaf_most = self.max_depth / 2;
        let root_most = self.max_depth - leaf_most - 1;
        let marker = self.marker(TRUNCATED);
        let leaf = stack[..leaf_most].iter().map(|&location| plus_one(location));
        let root = stack[stack.len() - root_most..].iter().map(|&location| plus_one(location));
        leaf.chain([marker]).chain(root).collect()
    }

    /// The attributes of a sample of this thread.
    pub(super) fn thread(&mut self, thread: u32) -> Vec<i32> {
        if let Some(attributes) = self.threads.get(&thread) {
            return attributes.clone();
        }
        let found = &self.profile.threads[thread as usize];
        let pid = match self.processes.get(&found.process) {
            Some(&attribute) => attribute,
            None => {
                let pid = self.profile.processes[found.process as usize].pid;
                let attribute = self.attribute("process.pid", Value::IntValue(pid.into()));
                self.processes.insert(found.process, attribute);
                attribute
            }
        };
        let tid = self.attribute("thread.id", Value::IntValue(found.tid.into()));
        let name = self.attribute("thread.name", text(&found.name));
        let attributes = vec![pid, tid, name];
        self.threads.insert(thread, attributes.clone());
        attributes
    }

    fn string(&mut self, text: &'a str) -> i32 {
        let text = clip(text, MAX_NAME_BYTES);
        let table = &mut self.tables.string_table;
        *self.strings.entry(text).or_insert_with(|| push(table, text.to_owned()))
    }

    fn attribute(&mut self, key: &'static str, value: Value) -> i32 {
        let key_strindex = self.string(key);
        let value = Some(AnyValue { value: Some(value) });
        push(&mut self.tables.attribute_table, proto::KeyValueAndUnit { key_strindex, value, unit_strindex: 0 })
    }

    fn mapping(&mut self, mapping: &'a Mapping) {
        let mut attribute_indices = Vec::new();
        if !mapping.build_id.is_empty() {
            attribute_indices.push(self.attribute("process.executable.build_id.gnu", text(&mapping.build_id)));
        }
        let filename_strindex = self.string(&mapping.path);
        self.tables.mapping_table.push(proto::Mapping { filename_strindex, attribute_indices, ..Default::default() });
    }

    fn location(&mut self, location: &Location) {
        let lines = location.lines.iter().map(|line| proto::Line {
            function_index: plus_one(line.function),
            line: line.line.into(),
            column: 0,
        });
        let location = proto::Location {
            mapping_index: plus_one(location.mapping),
            address: location.address,
            lines: lines.collect(),
            attribute_indices: vec![self.frame_type(location.kind)],
        };
        self.tables.location_table.push(location);
    }

    fn frame_type(&mut self, kind: FrameKind) -> i32 {
        if let Some(&attribute) = self.frame_types.get(&kind) {
            return attribute;
        }
        let attribute = self.attribute("profile.frame.type", text(kind.as_str()));
        self.frame_types.insert(kind, attribute);
        attribute
    }

    /// A location that is nobody's code. Its address is not 0, for which the server would drop the sample.
    fn marker(&mut self, name: &'static str) -> i32 {
        if let Some(&location) = self.markers.get(name) {
            return location;
        }
        let name_strindex = self.string(name);
        let function = proto::Function { name_strindex, system_name_strindex: name_strindex, ..Default::default() };
        let function_index = push(&mut self.tables.function_table, function);
        let lines = vec![proto::Line { function_index, line: 0, column: 0 }];
        let location = proto::Location { address: 1, lines, ..Default::default() };
        let location = push(&mut self.tables.location_table, location);
        self.markers.insert(name, location);
        location
    }
}

/// Every table with its zero value, which index 0 means.
pub(super) fn zero_tables() -> proto::ProfilesDictionary {
    proto::ProfilesDictionary {
        mapping_table: vec![proto::Mapping::default()],
        location_table: vec![proto::Location::default()],
        function_table: vec![proto::Function::default()],
        link_table: vec![proto::Link::default()],
        string_table: Vec::new(),
        attribute_table: vec![proto::KeyValueAndUnit::default()],
        stack_table: vec![proto::Stack::default()],
    }
}

/// Adds a row and returns its index. Tables stay far below 2^31 rows: the aggregate stage is bounded in memory.
pub(super) fn push<T>(table: &mut Vec<T>, row: T) -> i32 {
    table.push(row);
    i32::try_from(table.len() - 1).unwrap_or(0)
}

fn plus_one(index: u32) -> i32 {
    i32::try_from(index + 1).unwrap_or(0)
}

fn text(value: &str) -> Value {
    Value::StringValue(clip(value, MAX_VALUE_BYTES).to_owned())
}
