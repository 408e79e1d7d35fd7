//! Names of code that a process made at run time.
//!
//! What it has written is read when a window with its frames is named. Where code has taken the place of other code
//! since the sample, the newer name is shown: neither convention says when code went.

use super::jitdump::JitDump;
use super::perf_map::PerfMap;
use super::source::{Answer, Context, NotOpened, RawName, RawSite, Source};
use crate::process::{Executable, ExecutableKind, JitCode};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes read in one window of all processes; what is more waits for the next one.
pub(super) const MAX_READ_BYTES: u64 = 64 << 20;

/// What one process has written.
struct JitNames {
    code: Arc<JitCode>,
    map: PerfMap,
    dump: JitDump,
    /// Left of the window's bytes.
    budget: Rc<Cell<u64>>,
}

/// What a process says about its code.
///
/// # Errors
/// Never, where it says something at all.
pub(super) fn open(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    let ExecutableKind::Jit(code) = &executable.kind else { return Err(NotOpened::Never("anonymous")) };
    Ok(Box::new(JitNames::new(Arc::clone(code), Rc::clone(&context.jit_bytes))))
}

impl JitNames {
    fn new(code: Arc<JitCode>, budget: Rc<Cell<u64>>) -> Self {
        Self { code, map: PerfMap::default(), dump: JitDump::default(), budget }
    }

    fn refresh(&mut self) {
        let mut budget = self.budget.get();
        if let Some(file) = &self.code.jitdump {
            self.dump.refresh(file, &mut budget);
        }
        if let Some(file) = &self.code.perf_map {
            self.map.refresh(file, &mut budget);
        }
        self.budget.set(budget);
    }

    /// A jitdump says more than a map.
    fn site(&self, address: u64) -> Option<RawSite> {
        let of_map = || self.map.find(address).map(|name| site(name, Arc::from(""), 0));
        let of_dump = self.dump.find(address).map(|found| match found.place {
            Some(place) => site(found.name, place.file, place.line),
            None => site(found.name, Arc::from(""), 0),
        });
        of_dump.or_else(of_map)
    }
}

fn site(name: &str, file: Arc<str>, line: u32) -> RawSite {
    RawSite { name: RawName::Mangled(name.to_owned()), file, line }
}

impl Source for JitNames {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        self.refresh();
        let answer = |&address: &u64| match self.site(address) {
            Some(site) => Answer::Sites(vec![site]),
            None => Answer::Unknown("not_in_perf_map"),
        };
        addresses.iter().map(answer).collect()
    }

    fn bytes(&self) -> u64 {
        (self.map.bytes() + self.dump.bytes()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::*;
    use crate::telemetry::metrics::{Metric, Metrics};
    use std::io::Write as _;
    use std::time::Duration;

    fn process(id: u32, map: &str) -> Executable {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(map.as_bytes()).unwrap();
        let code = Arc::new(JitCode { perf_map: Some(file), jitdump: None });
        Executable::new(id, Arc::from("[anon]"), ExecutableKind::Jit(code))
    }

    fn name(names: &mut Names, process: &Executable, address: u64) -> String {
        names.find(process, &[address])[0][0].name.to_string()
    }

    #[test]
    fn the_same_address_has_a_name_in_each_process() {
        let mut names = Names::new(Arc::default(), Duration::ZERO);
        let (one, other) = (process(1, "1000 10 one\n"), process(2, "1000 10 other\n"));
        let found = [&one, &other, &one].map(|process| name(&mut names, process, 0x1008));
        assert_eq!(found, ["one", "other", "one"]);
    }

    #[test]
    fn a_name_that_changes_is_the_new_one_at_once() {
        let metrics = Arc::<Metrics>::default();
        let mut names = Names::new(Arc::clone(&metrics), Duration::ZERO);
        let process = process(1, "1000 10 before\n");
        assert_eq!(name(&mut names, &process, 0x1000), "before");
        let ExecutableKind::Jit(code) = &process.kind else { panic!("no code") };
        code.perf_map
            .as_ref()
            .unwrap()
            .write_all(b"1000 10 after\n2000 10 _ZN4main3fib17h0123456789abcdefE\n")
            .unwrap();
        names.end_window();
        let found = [0x1000, 0x2000, 0x3000].map(|address| name(&mut names, &process, address));
        assert_eq!(found, ["after", "main::fib", "[anon]"]);
        assert_eq!(metrics.get(Metric::FramesUnresolved, "not_in_perf_map"), 1.0);
    }

    #[test]
    fn one_window_reads_no_more_than_its_budget() {
        let map: String = (0..1000).map(|i| format!("{:x} 10 {}\n", i * 16, "n".repeat(1000))).collect();
        let budget = Rc::new(Cell::new(3 << 20));
        let mut all: Vec<JitNames> = (0..6)
            .map(|id| match process(id, &map).kind {
                ExecutableKind::Jit(code) => JitNames::new(code, Rc::clone(&budget)),
                _ => panic!("no code"),
            })
            .collect();
        let mut whole = || {
            all.iter_mut()
                .map(|names| names.find(&[999 * 16]))
                .filter(|found| found[0] != Answer::Unknown("not_in_perf_map"))
                .count()
        };
        assert_eq!(whole(), 3);
        budget.set(3 << 20);
        assert_eq!(whole(), 6);
    }
}
