//! The smallest dictionary for some samples, taken out of a larger one.

use super::dictionary::{push, zero_tables};
use opentelemetry_proto::tonic::profiles::v1development as proto;

/// The samples with the tables they need, and only those.
pub(super) fn subset(
    from: &proto::ProfilesDictionary,
    mut samples: Vec<proto::Sample>,
) -> (proto::ProfilesDictionary, Vec<proto::Sample>) {
    let mut copy = Copy::new(from);
    for sample in &mut samples {
        sample.stack_index = copy.stack(sample.stack_index);
        sample.attribute_indices = copy.attributes(&sample.attribute_indices);
    }
    (copy.to, samples)
}

/// Where a row of the old table is in the new one, 0 while it is not there.
type Moved = Vec<i32>;

struct Copy<'a> {
    from: &'a proto::ProfilesDictionary,
    to: proto::ProfilesDictionary,
    strings: Moved,
    attributes: Moved,
    mappings: Moved,
    functions: Moved,
    locations: Moved,
    stacks: Moved,
}

impl<'a> Copy<'a> {
    fn new(from: &'a proto::ProfilesDictionary) -> Self {
        let mut copy = Self {
            from,
            to: proto::ProfilesDictionary { string_table: vec![String::new()], ..zero_tables() },
            strings: vec![0; from.string_table.len()],
            attributes: vec![0; from.attribute_table.len()],
            mappings: vec![0; from.mapping_table.len()],
            functions: vec![0; from.function_table.len()],
            locations: vec![0; from.location_table.len()],
            stacks: vec![0; from.stack_table.len()],
        };
        // The types of sample and period keep their indices.
        for index in 1..=4 {
            copy.string(index);
        }
        copy
    }

    fn string(&mut self, index: i32) -> i32 {
        let Some(row) = unmoved(&self.strings, index) else { return moved(&self.strings, index) };
        self.strings[row] = push(&mut self.to.string_table, self.from.string_table[row].clone());
        self.strings[row]
    }

    fn attribute(&mut self, index: i32) -> i32 {
        let Some(row) = unmoved(&self.attributes, index) else { return moved(&self.attributes, index) };
        let mut attribute = self.from.attribute_table[row].clone();
        attribute.key_strindex = self.string(attribute.key_strindex);
        attribute.unit_strindex = self.string(attribute.unit_strindex);
        self.attributes[row] = push(&mut self.to.attribute_table, attribute);
        self.attributes[row]
    }

    fn attributes(&mut self, indices: &[i32]) -> Vec<i32> {
        indices.iter().map(|&index| self.attribute(index)).collect()
    }

    fn mapping(&mut self, index: i32) -> i32 {
        let Some(row) = unmoved(&self.mappings, index) else { return moved(&self.mappings, index) };
        let mut mapping = self.from.mapping_table[row].clone();
        mapping.filename_strindex = self.string(mapping.filename_strindex);
        mapping.attribute_indices = self.attributes(&mapping.attribute_indices);
        self.mappings[row] = push(&mut self.to.mapping_table, mapping);
        self.mappings[row]
    }

    fn function(&mut self, index: i32) -> i32 {
        let Some(row) = unmoved(&self.functions, index) else { return moved(&self.functions, index) };
        let mut function = self.from.function_table[row];
        function.name_strindex = self.string(function.name_strindex);
        function.system_name_strindex = self.string(function.system_name_strindex);
        function.filename_strindex = self.string(function.filename_strindex);
        self.functions[row] = push(&mut self.to.function_table, function);
        self.functions[row]
    }

    fn location(&mut self, index: i32) -> i32 {
        let Some(row) = unmoved(&self.locations, index) else { return moved(&self.locations, index) };
        let mut location = self.from.location_table[row].clone();
        location.mapping_index = self.mapping(location.mapping_index);
        location.attribute_indices = self.attributes(&location.attribute_indices);
        for line in &mut location.lines {
            line.function_index = self.function(line.function_index);
        }
        self.locations[row] = push(&mut self.to.location_table, location);
        self.locations[row]
    }

    fn stack(&mut self, index: i32) -> i32 {
        let Some(row) = unmoved(&self.stacks, index) else { return moved(&self.stacks, index) };
        let location_indices =
            self.from.stack_table[row].location_indices.iter().map(|&index| self.location(index)).collect();
        self.stacks[row] = push(&mut self.to.stack_table, proto::Stack { location_indices });
        self.stacks[row]
    }
}

/// The row to copy, when it is not the zero value and not yet there.
fn unmoved(table: &Moved, index: i32) -> Option<usize> {
    let row = usize::try_from(index).ok().filter(|&row| row > 0)?;
    (*table.get(row)? == 0).then_some(row)
}

fn moved(table: &Moved, index: i32) -> i32 {
    usize::try_from(index).ok().and_then(|row| table.get(row)).copied().unwrap_or(0)
}
