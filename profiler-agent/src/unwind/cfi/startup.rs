//! Start-up code: functions that gcc's crtbegin.o and the C library's crti.o put into every file, without call frame
//! information (`deregister_tm_clones`, `register_tm_clones`, `__do_global_dtors_aux`, `frame_dummy`, `_init`, `_fini`).
//!
//! They are found where the loader finds them, and through each other; their rows are what their instructions do.

use super::Layout;
use super::entries::Entry;
use super::trace::trace;
use profiler_common::unwind::rule::Rule;
use std::collections::BTreeMap;

/// Bytes of a function: twice the longest.
const MAX_BYTES: u64 = 256;
/// Functions looked at.
const MAX_FUNCTIONS: usize = 64;

/// Functions of start-up code.
#[derive(Default)]
pub(super) struct Startup(Vec<Function>);

struct Function {
    start: u64,
    length: u64,
    rows: Vec<(u64, Rule)>,
}

impl Startup {
    /// Those where no entry says anything; `entries` are in order of address.
    pub(super) fn find(layout: &Layout<'_>, entries: &[Entry]) -> Self {
        let mut found: BTreeMap<u64, Option<Function>> = BTreeMap::new();
        let mut queue = layout.roots.clone();
        while let Some(start) = queue.pop().filter(|_| found.len() < MAX_FUNCTIONS) {
            found.entry(start).or_insert_with(|| function(layout, entries, start, &mut queue));
        }
        Self(found.into_values().flatten().collect())
    }

    /// Their entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let entry = |(index, function): (u32, &Function)| Entry::startup(function.start, function.length as u32, index);
        (0..).zip(&self.0).map(entry)
    }

    /// Tells the rows of one up to an address.
    pub(super) fn rows(&self, entry: Entry, end: u64, mut tell: impl FnMut(u64, Rule)) {
        let Some(function) = self.0.get(entry.offset()) else { return };
        let rows = function.rows.iter().map(|(distance, rule)| (function.start + distance, *rule));
        rows.take_while(|(address, _)| *address < end).for_each(|(address, rule)| tell(address, rule));
    }
}

/// The function that begins at an address, and those that it goes to.
fn function(layout: &Layout<'_>, entries: &[Entry], start: u64, queue: &mut Vec<u64>) -> Option<Function> {
    let after = entries.partition_point(|entry| entry.start <= start);
    if entries[..after].last().is_some_and(|before| before.end() > start) {
        return None;
    }
    let free = entries.get(after).map_or(u64::MAX, |next| next.start - start);
    let code = layout.image.code(start, MAX_BYTES.min(free))?;
    let traced = trace(layout.machine.instructions, &code)?;
    start.checked_add(MAX_BYTES)?;
    queue.extend(traced.targets.iter().map(|distance| start.wrapping_add_signed(*distance)));
    Some(Function { start, length: traced.length, rows: traced.rows })
}
