//! Names of code that processes made at run time.
//!
//! What a process has written is read when a window with its frames is named. Where code has taken the place of other
//! code since the sample, the newer name is shown: neither convention says when code went.

use super::jit_lines::Place;
use super::jitdump::JitDump;
use super::perf_map::PerfMap;
use crate::process::JitCode;
use std::collections::HashMap;

/// Bytes of all tables; those not used for longest go first.
const MAX_BYTES: usize = 128 << 20;
/// Bytes read in one window; what is more waits for the next one.
const MAX_READ_BYTES: u64 = 64 << 20;
/// Windows after which the table of a process without frames is let go.
const MAX_IDLE_WINDOWS: u64 = 6;

/// Name and source line of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JitFrame {
    /// As the process has it, not demangled.
    pub(super) name: String,
    /// File and line, when known.
    pub(super) place: Option<Place>,
}

#[derive(Default)]
struct Known {
    map: PerfMap,
    dump: JitDump,
    last_used: u64,
}

impl Known {
    fn bytes(&self) -> usize {
        self.map.bytes() + self.dump.bytes()
    }

    fn find(&self, address: u64) -> Option<JitFrame> {
        let of_dump = self.dump.find(address).map(|found| JitFrame { name: found.name.to_owned(), place: found.place });
        of_dump.or_else(|| self.map.find(address).map(|name| JitFrame { name: name.to_owned(), place: None }))
    }
}

/// The tables of all processes that have some.
pub(super) struct JitNames {
    /// By executable.
    known: HashMap<u32, Known>,
    clock: u64,
    /// Left of this window's.
    budget: u64,
    max_bytes: usize,
    max_read_bytes: u64,
}

impl Default for JitNames {
    fn default() -> Self {
        Self::new(MAX_BYTES, MAX_READ_BYTES)
    }
}

impl JitNames {
    fn new(max_bytes: usize, max_read_bytes: u64) -> Self {
        Self { known: HashMap::new(), clock: 0, budget: max_read_bytes, max_bytes, max_read_bytes }
    }

    /// Names of addresses in the code of one process, in their order.
    pub(super) fn find(&mut self, executable: u32, code: &JitCode, addresses: &[u64]) -> Vec<Option<JitFrame>> {
        let known = self.known.entry(executable).or_default();
        known.last_used = self.clock;
        if let Some(file) = &code.jitdump {
            known.dump.refresh(file, &mut self.budget);
        }
        if let Some(file) = &code.perf_map {
            known.map.refresh(file, &mut self.budget);
        }
        let found = addresses.iter().map(|&address| known.find(address)).collect();
        self.make_room(executable);
        found
    }

    /// Forgets tables that the last windows did not need.
    pub(super) fn end_window(&mut self) {
        self.clock += 1;
        self.budget = self.max_read_bytes;
        let clock = self.clock;
        self.known.retain(|_, known| known.last_used + MAX_IDLE_WINDOWS > clock);
    }

    fn make_room(&mut self, needed: u32) {
        let mut bytes: usize = self.known.values().map(Known::bytes).sum();
        while bytes > self.max_bytes {
            let others = self.known.iter().filter(|(id, _)| **id != needed);
            let Some((&id, _)) = others.min_by_key(|(_, known)| known.last_used) else { break };
            bytes -= self.known.remove(&id).map_or(0, |known| known.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn code(map: &str) -> JitCode {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(map.as_bytes()).unwrap();
        JitCode { perf_map: Some(file), jitdump: None }
    }

    #[test]
    fn the_same_address_has_a_name_in_each_process() {
        let mut names = JitNames::default();
        let (one, other) = (code("1000 10 one\n"), code("1000 10 other\n"));
        let mut name = |id, code| names.find(id, code, &[0x1008, 0x2000])[0].clone().unwrap().name;
        assert_eq!((name(1, &one), name(2, &other), name(1, &one)), ("one".into(), "other".into(), "one".into()));
    }

    #[test]
    fn a_name_that_changes_is_the_new_one_at_once() {
        let (mut names, mut code) = (JitNames::default(), code("1000 10 before\n"));
        let name = |names: &mut JitNames, code: &JitCode| names.find(1, code, &[0x1000])[0].clone().unwrap().name;
        assert_eq!(name(&mut names, &code), "before");
        code.perf_map.as_mut().unwrap().write_all(b"1000 10 after\n").unwrap();
        assert_eq!(name(&mut names, &code), "after");
    }

    #[test]
    fn many_large_maps_stay_within_the_limits() {
        let map: String = (0..1000).map(|i| format!("{:x} 10 {}\n", i * 16, "n".repeat(1000))).collect();
        let codes: Vec<JitCode> = (0..6).map(|_| code(&map)).collect();
        let mut names = JitNames::new(3 << 20, 3 << 20);
        for (id, code) in codes.iter().enumerate() {
            names.end_window();
            assert!(names.find(id as u32, code, &[999 * 16])[0].is_some());
        }
        assert!(names.known.values().map(Known::bytes).sum::<usize>() <= 3 << 20);
        names.end_window();
        let mut is_whole = |(id, code): &(usize, &JitCode)| names.find(*id as u32, code, &[999 * 16])[0].is_some();
        assert_eq!(
            codes.iter().enumerate().filter(&mut is_whole).count(),
            2,
            "one window reads no more than its budget"
        );
        (0..MAX_IDLE_WINDOWS).for_each(|_| names.end_window());
        assert!(names.known.is_empty());
    }
}
