//! From an address in an executable to a function's name.

use super::demangle::demangle;
use super::symbol_file;
use crate::process::{Executable, ExecutableKind};
use crate::telemetry::metrics::{Metric, Metrics};
use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Elf, Kernel, Source};
use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// Names remembered across windows, in each of two generations.
const MAX_NAMES: usize = 65_536;
/// Bytes of all symbols at hand; those not used for longest go first.
const MAX_SYMBOL_BYTES: u64 = 128 << 20;
/// Windows after which symbols that no new address needed are let go; the names found stay.
const MAX_IDLE_WINDOWS: u64 = 6;
/// What the kernel's symbols take, about.
const KALLSYMS_BYTES: u64 = 10 << 20;
/// Longest name kept, in bytes.
const MAX_NAME_BYTES: usize = 8192;

/// The name of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Demangled, or `module+0x1234`.
    pub name: Arc<str>,
    /// As in the symbol table.
    pub system_name: Arc<str>,
}

/// Symbols of one file.
struct Symbols {
    symbolizer: Symbolizer,
    source: Source<'static>,
    /// Keeps the copy alive: the source names it by its descriptor.
    _copy: Option<File>,
    bytes: u64,
}

/// A file that was looked at: its symbols, or why there are none.
struct Looked {
    symbols: Result<Symbols, &'static str>,
    last_used: u64,
}

/// Names found so far, and the symbols to find more.
pub struct Names {
    /// By executable.
    looked: HashMap<u32, Looked>,
    young: HashMap<(u32, u64), Name>,
    old: HashMap<(u32, u64), Name>,
    clock: u64,
    metrics: Arc<Metrics>,
}

impl Names {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { looked: HashMap::new(), young: HashMap::new(), old: HashMap::new(), clock: 0, metrics }
    }

    /// Names addresses of one executable, in their order.
    pub fn find(&mut self, executable: &Executable, addresses: &[u64]) -> Vec<Name> {
        let unknown: Vec<u64> =
            addresses.iter().copied().filter(|&address| self.remembered(executable.id, address).is_none()).collect();
        let found = self.look_up(executable, &unknown);
        for (&address, found) in unknown.iter().zip(&found) {
            let name = self.make(executable, address, found);
            self.remember(executable.id, address, name);
        }
        let name = |&address: &u64| match self.remembered(executable.id, address) {
            Some(name) => name.clone(),
            None => self.make(executable, address, &Err("evicted")),
        };
        addresses.iter().map(name).collect()
    }

    fn remembered(&self, executable: u32, address: u64) -> Option<&Name> {
        let key = (executable, address);
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    /// Forgets symbols and names that the last windows did not need.
    pub fn end_window(&mut self) {
        self.clock += 1;
        if self.young.len() > MAX_NAMES {
            self.old = std::mem::take(&mut self.young);
        }
        let clock = self.clock;
        self.looked.retain(|_, looked| looked.last_used + MAX_IDLE_WINDOWS > clock);
        self.make_room(None);
    }

    /// Lets symbols go until what is left is within the limit. One window may need more files than that: each is
    /// asked once in it, so all but `needed` may go.
    fn make_room(&mut self, needed: Option<u32>) {
        let mut bytes: u64 = self.looked.values().map(Looked::bytes).sum();
        while bytes > MAX_SYMBOL_BYTES {
            let others = self.looked.iter().filter(|(id, looked)| Some(**id) != needed && looked.bytes() > 0);
            let Some((&id, _)) = others.min_by_key(|(_, looked)| looked.last_used) else { break };
            bytes -= self.looked.remove(&id).map_or(0, |looked| looked.bytes());
        }
    }

    fn remember(&mut self, executable: u32, address: u64, name: Name) {
        self.young.insert((executable, address), name);
    }

    /// Symbol names as the tables have them, or why there is none.
    fn look_up(&mut self, executable: &Executable, addresses: &[u64]) -> Vec<Result<String, &'static str>> {
        if addresses.is_empty() {
            return Vec::new();
        }
        let clock = self.clock;
        if let Entry::Vacant(entry) = self.looked.entry(executable.id) {
            entry.insert(Looked { symbols: open(executable), last_used: clock });
            self.make_room(Some(executable.id));
        }
        let Some(looked) = self.looked.get_mut(&executable.id) else { return Vec::new() };
        looked.last_used = clock;
        match &looked.symbols {
            Ok(symbols) => symbols.names(addresses),
            Err(reason) => addresses.iter().map(|_| Err(*reason)).collect(),
        }
    }

    fn make(&self, executable: &Executable, address: u64, found: &Result<String, &'static str>) -> Name {
        match found {
            Ok(symbol) => {
                let symbol = bounded(symbol);
                let name = Arc::from(&*demangle(symbol));
                let system_name = if *name == *symbol { Arc::clone(&name) } else { Arc::from(symbol) };
                Name { name, system_name }
            }
            Err(reason) => {
                self.metrics.add(Metric::FramesUnresolved, reason, 1);
                let name = fallback(executable, address);
                Name { system_name: Arc::clone(&name), name }
            }
        }
    }
}

/// The beginning of a name that is longer than any honest one.
fn bounded(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

/// `module+0x1234`; addresses that differ from process to process or from boot to boot are left out, those of the kernel
/// also because they are secret.
fn fallback(executable: &Executable, address: u64) -> Arc<str> {
    let path = &executable.path;
    match executable.kind {
        ExecutableKind::Kernel | ExecutableKind::Anonymous | ExecutableKind::Unmapped => Arc::clone(path),
        _ => {
            let module = path.rsplit('/').next().filter(|module| !module.is_empty()).unwrap_or(path);
            let module: String = module.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            Arc::from(format!("{module}+{address:#x}"))
        }
    }
}

fn open(executable: &Executable) -> Result<Symbols, &'static str> {
    let symbolizer =
        || Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).enable_demangling(false);
    match &executable.kind {
        ExecutableKind::Elf { file, .. } => {
            let copy = symbol_file::extract(file).map_err(crate::process::Refusal::label)?;
            if copy.functions == 0 {
                return Err("no_symbols");
            }
            let path = format!("/proc/self/fd/{}", copy.file.as_raw_fd());
            let source = Source::Elf(Elf { debug_syms: false, ..Elf::new(path) });
            let (bytes, copy) = (copy.bytes, Some(copy.file));
            Ok(Symbols { symbolizer: symbolizer().build(), source, _copy: copy, bytes })
        }
        ExecutableKind::Kernel => {
            let kallsyms = MaybeDefault::Some(Path::new("/proc/kallsyms").into());
            let kernel = Kernel { kallsyms, vmlinux: MaybeDefault::None, debug_syms: false, ..Kernel::default() };
            let source = Source::Kernel(kernel);
            Ok(Symbols { symbolizer: symbolizer().build(), source, _copy: None, bytes: KALLSYMS_BYTES })
        }
        ExecutableKind::Anonymous => Err("anonymous"),
        ExecutableKind::Unmapped => Err("unmapped"),
        ExecutableKind::Refused(refusal) => Err(refusal.label()),
    }
}

impl Looked {
    fn bytes(&self) -> u64 {
        self.symbols.as_ref().map_or(0, |symbols| symbols.bytes)
    }
}

impl Symbols {
    fn names(&self, addresses: &[u64]) -> Vec<Result<String, &'static str>> {
        let input = match self.source {
            Source::Kernel(_) => Input::AbsAddr(addresses),
            _ => Input::VirtOffset(addresses),
        };
        let found = match self.symbolizer.symbolize(&self.source, input) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, source = ?self.source, "symbols cannot be used");
                return addresses.iter().map(|_| Err("malformed")).collect();
            }
        };
        let name = |symbolized: Symbolized<'_>| match symbolized {
            // An offset into the table of names that hits the end of another name.
            Symbolized::Sym(symbol) if symbol.name.is_empty() => Err("unnamed"),
            Symbolized::Sym(symbol) => Ok(symbol.name.into_owned()),
            Symbolized::Unknown(Reason::MissingSyms) => Err("no_symbols"),
            Symbolized::Unknown(Reason::UnknownAddr) => Err("unknown_address"),
            Symbolized::Unknown(_) => Err("other"),
        };
        found.into_iter().map(name).collect()
    }
}
