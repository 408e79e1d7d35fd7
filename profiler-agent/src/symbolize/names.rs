//! From an address in an executable to the functions there.

use super::debuginfo::Budget;
use super::debuginfod::Debuginfod;
use super::demangle::demangle;
use super::jit;
use super::remembered::Remembered;
use super::source::{self, Answer, Context, NotOpened, RawName, RawSite, Source, openers};
use crate::governor::Pressure;
use crate::process::{Executable, ExecutableKind};
use crate::telemetry::metrics::{Metric, Metrics};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of all symbols and debug info at hand; what was not used for longest goes first.
const MAX_SOURCE_BYTES: u64 = 64 << 20;
/// Windows after which a source that no new address needed is let go; the names found stay.
const MAX_IDLE_WINDOWS: u64 = 6;
/// Longest name kept, in bytes.
const MAX_NAME_BYTES: usize = 8192;

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Demangled, or `module+0x1234`.
    pub name: Arc<str>,
    /// As in the symbol table, without a version, or as in the debug info.
    pub system_name: Arc<str>,
    /// Source file, empty when unknown.
    pub file: Arc<str>,
    /// Line in it, 0 when unknown.
    pub line: u32,
}

/// A source that was looked for.
struct Looked {
    source: Result<Box<dyn Source>, &'static str>,
    last_used: u64,
}

/// What all sources together say of an address.
#[derive(Default)]
struct Gathered {
    sites: Vec<RawSite>,
    /// Why there is no name, said by the last source.
    reason: &'static str,
    /// Whether a later window may know more.
    is_late: bool,
}

/// Names found so far, and the sources to find more.
pub struct Names {
    /// By executable and place in the order of its sources.
    looked: HashMap<(u32, usize), Looked>,
    remembered: Remembered,
    clock: u64,
    context: Context,
    pressure: Pressure,
}

impl Names {
    /// Knows nothing yet. `debug_info_time` is how long debug info may be read in each window; without it, functions
    /// have the names of symbol tables, and no lines.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, debug_info_time: Duration) -> Self {
        let budget = Rc::new(Budget::new(debug_info_time));
        let jit_bytes = Rc::new(Cell::new(jit::MAX_READ_BYTES));
        let context =
            Context { budget, jit_bytes, metrics, exported: RefCell::default(), debuginfod: None, kallsyms: None };
        let (looked, remembered, pressure) = (HashMap::new(), Remembered::default(), Pressure::default());
        Self { looked, remembered, clock: 0, context, pressure }
    }

    /// Asks servers for debug info that the host does not have.
    #[must_use]
    pub fn with_debuginfod(mut self, debuginfod: Option<Arc<Debuginfod>>) -> Self {
        self.context.debuginfod = debuginfod;
        self
    }

    /// Names the kernel's functions from `/proc/kallsyms` as it was opened before the agent gave up `CAP_SYSLOG`.
    #[must_use]
    pub fn with_kallsyms(mut self, kallsyms: Option<Arc<File>>) -> Self {
        self.context.kallsyms = kallsyms;
        self
    }

    /// Keeps less when memory is short.
    #[must_use]
    pub fn under(mut self, pressure: Pressure) -> Self {
        self.pressure = pressure;
        self
    }

    /// Names addresses of one executable, in their order: for each the functions there, the innermost inlined one
    /// first, at least one.
    pub fn find(&mut self, executable: &Executable, addresses: &[u64]) -> Vec<Arc<[Site]>> {
        let mut found: HashMap<u64, Arc<[Site]>> = HashMap::new();
        let mut unknown = Vec::new();
        for &address in addresses {
            match self.remembered.get(executable.id, address) {
                Some(sites) => _ = found.insert(address, sites),
                None => unknown.push(address),
            }
        }
        let gathered = self.gather(executable, &unknown);
        for (&address, gathered) in unknown.iter().zip(&gathered) {
            let sites = self.make(executable, address, gathered);
            if gathered.is_late {
                self.context.metrics.add(Metric::DebugInfoPostponed, "", 1);
            } else if source::is_lasting(&executable.kind) {
                self.remembered.put(executable.id, address, Arc::clone(&sites));
            }
            found.insert(address, sites);
        }
        addresses.iter().filter_map(|address| found.get(address).cloned()).collect()
    }

    /// Forgets what the last windows did not need.
    pub fn end_window(&mut self) {
        self.clock += 1;
        self.context.budget.renew();
        self.context.jit_bytes.set(jit::MAX_READ_BYTES);
        self.remembered.end_window();
        if self.pressure.is_highest() {
            self.remembered = Remembered::default();
        }
        let clock = self.clock;
        self.looked.retain(|_, looked| looked.last_used + MAX_IDLE_WINDOWS > clock);
        self.make_room();
    }

    /// Lets sources go until what is left is within the limit. One window may need more files than that: each is asked
    /// once in it.
    fn make_room(&mut self) {
        let mut bytes: u64 = self.looked.values().map(Looked::bytes).sum();
        while bytes > self.pressure.bound(MAX_SOURCE_BYTES) {
            let held = self.looked.iter().filter(|(_, looked)| looked.bytes() > 0);
            let Some((&key, _)) = held.min_by_key(|(_, looked)| looked.last_used) else { break };
            bytes -= self.looked.remove(&key).map_or(0, |looked| looked.bytes());
        }
    }

    /// Asks the sources of an executable one after the other.
    fn gather(&mut self, executable: &Executable, addresses: &[u64]) -> Vec<Gathered> {
        let without = source::without_sources(&executable.kind);
        let mut all: Vec<Gathered> =
            addresses.iter().map(|_| Gathered { reason: without, ..Gathered::default() }).collect();
        for place in 0..openers(&executable.kind).len() {
            let open: Vec<usize> = (0..all.len()).filter(|&index| all[index].is_open()).collect();
            if open.is_empty() {
                break;
            }
            let asked: Vec<u64> = open.iter().map(|&index| addresses[index]).collect();
            for (index, answer) in open.into_iter().zip(self.ask(executable, place, &asked)) {
                all[index].take(answer);
            }
            self.make_room();
        }
        all
    }

    fn ask(&mut self, executable: &Executable, place: usize, addresses: &[u64]) -> Vec<Answer> {
        let key = (executable.id, place);
        if !self.looked.contains_key(&key) {
            let source = match openers(&executable.kind)[place](executable, &self.context) {
                Ok(source) => Ok(source),
                Err(NotOpened::Never(reason)) => Err(reason),
                Err(NotOpened::Later) => return vec![Answer::Later; addresses.len()],
            };
            self.looked.insert(key, Looked { source, last_used: self.clock });
        }
        let Some(looked) = self.looked.get_mut(&key) else { return Vec::new() };
        looked.last_used = self.clock;
        match &mut looked.source {
            Ok(source) => source.find(addresses),
            Err(reason) => vec![Answer::Unknown(reason); addresses.len()],
        }
    }

    fn make(&mut self, executable: &Executable, address: u64, gathered: &Gathered) -> Arc<[Site]> {
        let last = gathered.sites.len().saturating_sub(1);
        let site = |(index, raw): (usize, &RawSite)| {
            let (name, system_name) = names(&raw.name).unwrap_or_else(|| {
                // Only the outermost may be without a name.
                debug_assert_eq!(index, last);
                self.context.metrics.add(Metric::FramesUnresolved, gathered.reason, 1);
                let name = fallback(executable, address);
                (Cow::Owned(name.clone()), Cow::Owned(name))
            });
            let name = self.remembered.text(&name);
            let system_name = self.remembered.text(&system_name);
            Site { name, system_name, file: self.remembered.text(&raw.file), line: raw.line }
        };
        let nothing = [RawSite { name: RawName::Unknown, file: Arc::from(""), line: 0 }];
        let sites = if gathered.sites.is_empty() { &nothing[..] } else { &gathered.sites };
        sites.iter().enumerate().map(site).collect()
    }
}

impl Gathered {
    /// Whether a further source may know more.
    fn is_open(&self) -> bool {
        self.sites.last().is_none_or(|site| matches!(site.name, RawName::Unknown | RawName::Short(_)))
    }

    /// Takes over what a further source knows: everything, or the name of the outermost function.
    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Later => self.is_late = true,
            Answer::Unknown(reason) => self.reason = reason,
            Answer::Sites(sites) => match self.sites.last_mut() {
                None => self.sites = sites,
                Some(outermost) => {
                    let Some(named) = sites.into_iter().next_back() else { return };
                    if outermost.name == RawName::Unknown || is_mangled(&named.name) {
                        outermost.name = named.name;
                    }
                }
            },
        }
    }
}

fn is_mangled(name: &RawName) -> bool {
    matches!(name, RawName::Mangled(name) if matches!(demangle(bounded(name)), Cow::Owned(_)))
}

impl Looked {
    fn bytes(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.bytes())
    }
}

/// Demangled name and name as it is; none when it is not known.
fn names(raw: &RawName) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    match raw {
        RawName::Unknown => None,
        RawName::Exact(name) | RawName::Short(name) => Some((bounded(name).into(), bounded(name).into())),
        RawName::Mangled(name) => Some((demangle(bounded(name)), bounded(name).into())),
    }
}

/// The beginning of a name that is longer than any honest one.
fn bounded(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

/// `module+0x1234`; addresses that differ from process to process or from boot to boot are left out, those of the kernel
/// also because they are secret.
fn fallback(executable: &Executable, address: u64) -> String {
    let path = &executable.path;
    match executable.kind {
        ExecutableKind::Kernel | ExecutableKind::Anonymous | ExecutableKind::Jit(_) | ExecutableKind::Unmapped => {
            path.to_string()
        }
        _ => {
            let module = path.rsplit('/').next().filter(|module| !module.is_empty()).unwrap_or(path);
            let module: String = module.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            format!("{module}+{address:#x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{CodeAddress, Executables, Naming, ProcessKey, ProcessTable};

    /// This process's own, as any other's.
    #[test]
    fn functions_of_the_vdso_have_names() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let range = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap().split(' ').next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let ticks: u64 = stat.rsplit(')').next().unwrap().split(' ').nth(20).unwrap().parse().unwrap();
        let key = ProcessKey { tgid: std::process::id(), start_ns: ticks * 10_000_000 };
        let metrics = Arc::<Metrics>::default();
        let mut table = ProcessTable::new(Executables::new(Arc::clone(&metrics)), Naming::new(Vec::new()));
        let places = (address(start)..address(end)).step_by(16);
        let places: Vec<CodeAddress> = places.map(|place| table.user_address(key, place, 0).unwrap()).collect();
        let addresses: Vec<u64> = places.iter().map(|place| place.address).collect();
        let found = Names::new(metrics, Duration::ZERO).find(&places[0].executable, &addresses);
        assert!(found.iter().any(|sites| sites[0].name.contains("clock_gettime")), "{found:?}");
        assert_eq!(&*places[0].executable.path, "[vdso]");
    }
}
