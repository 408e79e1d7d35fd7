//! One closed window with every name in place: what the aggregate stage gives to otlp, output and history.
//!
//! Tables refer to each other by index; every index is in bounds. Strings are shared, not copied.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Samples of one span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Start in Unix nanoseconds.
    pub start_unix_ns: u64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// CPU time in nanoseconds that one sample stands for.
    pub period_ns: u64,
    /// Files the frames lie in. May be empty.
    pub mappings: Vec<Mapping>,
    /// Named functions.
    pub functions: Vec<Function>,
    /// Code addresses with at least one line each.
    pub locations: Vec<Location>,
    /// Stacks as indices into `locations`, leaf first.
    pub stacks: Vec<Box<[u32]>>,
    /// Processes with a sample.
    pub processes: Vec<Process>,
    /// Threads with a sample.
    pub threads: Vec<Thread>,
    /// Services with a sample, each its own series.
    pub services: Vec<Service>,
}

/// An executable file, the kernel, or memory that is no file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    /// Path as the profiled process sees it, or a name in brackets such as `[kernel]`, `[vdso]`, `[anon]`.
    pub path: Arc<str>,
    /// GNU build ID in lower-case hexadecimal, empty when there is none.
    pub build_id: Arc<str>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Function {
    /// Demangled name, or `module+0x1234`; never empty. Hostile text: it comes from profiled programs.
    pub name: Arc<str>,
    /// Name in the symbol table before demangling, equal to `name` when that says no more.
    pub system_name: Arc<str>,
    /// Source file, empty when unknown.
    pub file: Arc<str>,
}

/// An address in a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Index into [`Profile::mappings`].
    pub mapping: u32,
    /// Address in the file's own address space; never 0.
    pub address: u64,
    /// What kind of code this is.
    pub kind: FrameKind,
    /// Functions at this address, the innermost inlined one first; never empty.
    pub lines: Box<[Line]>,
}

/// Values of `profile.frame.type` of the OpenTelemetry semantic conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FrameKind {
    /// Compiled code of a program.
    Native,
    /// The kernel.
    Kernel,
}

impl FrameKind {
    /// The attribute's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kernel => "kernel",
        }
    }
}

/// A function at a source line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Line {
    /// Index into [`Profile::functions`].
    pub function: u32,
    /// Line in the source file, 0 when unknown.
    pub line: u32,
}

/// A process with samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Process id on the host.
    pub pid: u32,
    /// Start time, nanoseconds of CLOCK_BOOTTIME: tells a reused pid apart.
    pub start_ns: u64,
    /// Name of the executable, or of the kernel thread. Hostile text.
    pub name: Arc<str>,
}

/// A thread with samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Thread {
    /// Index into [`Profile::processes`].
    pub process: u32,
    /// Thread id on the host.
    pub tid: u32,
    /// Its `comm` at the first sample. Hostile text.
    pub name: Arc<str>,
}

/// Processes that belong together: one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `service.name`.
    pub name: Arc<str>,
    /// Further labels, keys with dots as in the OpenTelemetry semantic conventions, sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// How often a stack was seen in a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Index into [`Profile::stacks`].
    pub stack: u32,
    /// Index into [`Profile::threads`].
    pub thread: u32,
    /// Number of samples.
    pub count: u64,
}

impl Service {
    /// Samples of this service.
    #[must_use]
    pub fn sample_count(&self) -> u64 {
        self.samples.iter().map(|sample| sample.count).sum()
    }
}

impl Profile {
    /// Samples of all services.
    #[must_use]
    pub fn sample_count(&self) -> u64 {
        self.services.iter().map(Service::sample_count).sum()
    }
}
