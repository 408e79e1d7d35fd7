//! Loading and attaching the kernel programs.

use super::btf::{Btf, BtfError};
use super::counters::{Counters, Slots};
use super::filter::Filter;
use super::offsets::{self, Hierarchies};
use super::perf::Clock;
use super::rates::Rates;
use super::rules::CgroupRules;
use super::sampling::{self, Sampling};
use super::tables::KernelTables;
use crate::config::SampleConfig;
use aya::maps::{Array, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{PerfEvent, Program, ProgramError, RawTracePoint};
use aya::{Ebpf, EbpfLoader, Pod, include_bytes_aligned};
use aya_log::EbpfLogger;
use profiler_common::{config, config::Config, limits, record, unwind::place};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(target_arch = "x86_64")]
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/profiler.x86_64.bpf.o");
#[cfg(target_arch = "aarch64")]
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/profiler.aarch64.bpf.o");

/// Names another object file; for proving that a rebuilt object loads.
const OBJECT_VARIABLE: &str = "PROFILER_BPF_OBJECT";
/// Seconds of sampling at full load that the ring holds.
const RING_SECONDS: u64 = 2;
/// Bytes of an average record: the head and some hundred frames.
const RECORD_BYTES: u64 = 1024;
/// Chunks for the mappings of processes: 64 MiB, a million of them.
const MAPPING_CHUNKS: u32 = 1024;
/// Chunks that places can tell apart.
const MAX_CHUNKS: u32 = 1 << 16;
const MIN_RING_BYTES: u64 = 256 << 10;
const MAX_RING_BYTES: u64 = 64 << 20;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Settings(Config);

// SAFETY: fixed-width integers without padding.
unsafe impl Pod for Settings {}

/// What to sample.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples per second and CPU.
    pub hz: u32,
    /// What drives sampling.
    pub clock: Clock,
    /// Take kernel stacks.
    pub kernel_stacks: bool,
    /// Processes to sample; empty for all.
    pub pids: Vec<u32>,
    /// Sample processes that those fork, too.
    pub follow_forks: bool,
    /// The cgroup whose subtree is sampled.
    pub cgroup: Option<PathBuf>,
    /// Bytes of unwind tables at most.
    pub unwind_max_bytes: u64,
    /// Frequencies of services that have their own, each once.
    pub service_hz: Vec<u32>,
    /// Size of the ring buffer; derived from CPUs and frequency by default.
    pub ring_bytes: Option<u64>,
    /// Let the kernel programs log.
    pub log: bool,
}

impl Options {
    /// As configured, of all that the filters allow.
    #[must_use]
    pub fn new(config: &SampleConfig) -> Self {
        Self {
            hz: config.frequency,
            clock: config.event,
            kernel_stacks: config.kernel_stacks,
            pids: config.pids.clone(),
            follow_forks: false,
            cgroup: config.cgroup.clone(),
            unwind_max_bytes: config.unwind_max_bytes,
            service_hz: Vec::new(),
            ring_bytes: config.ring_bytes,
            log: config.log.level == tracing::Level::TRACE,
        }
    }

    /// Chunks of tables: number 0 is none, and the mappings of processes need some beside the files'.
    fn chunks(&self) -> u32 {
        let files = self.unwind_max_bytes.div_ceil(u64::from(place::CHUNK_BYTES));
        (files as u32 + MAPPING_CHUNKS).min(MAX_CHUNKS)
    }
}

/// Why sampling could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel's types cannot be used.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object cannot be loaded.
    #[error("cannot load the kernel programs: {0}")]
    Object(#[from] aya::EbpfError),
    /// A program was refused.
    #[error("the kernel refused program {name}: {source}")]
    Program {
        /// The program's name.
        name: &'static str,
        /// The kernel's answer.
        source: ProgramError,
    },
    /// A map cannot be used.
    #[error("cannot use map {name}: {source}")]
    Map {
        /// The map's name.
        name: &'static str,
        /// Why.
        source: aya::maps::MapError,
    },
    /// No memory for unwind tables.
    #[error("cannot make memory for unwind tables: {0}")]
    Tables(std::io::Error),
    /// The rates cannot be told.
    #[error("cannot tell the kernel programs how often to sample: {0}")]
    Rates(std::io::Error),
    /// The object lacks something.
    #[error("the object has no {0}")]
    NoSuch(&'static str),
    /// perf events cannot be opened.
    #[error("cannot open the sampling event: {0}")]
    Perf(std::io::Error),
    /// No cycle counter.
    #[error("this host has no hardware cycle counter, as is usual in virtual machines ({0}): use --event cpu-clock")]
    NoCycles(std::io::Error),
    /// A file named by the user cannot be used.
    #[error("{0}")]
    Usage(String),
}

/// Everything that runs, before its reader is started.
pub struct Loaded {
    pub(super) sampling: Sampling,
    /// The kernel empties the array once nobody holds it.
    pub(super) _chain: ProgramArray<MapData>,
    pub(super) ring: RingBuf<MapData>,
    /// Dropping it detaches the tracepoints.
    pub(super) _programs: Ebpf,
    /// Where unwind tables go; none once the pipeline has it.
    pub tables: Option<KernelTables>,
    pub(super) logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// The kernel's counters.
    pub counters: Arc<Counters>,
    /// How often is sampled.
    pub rates: Arc<Rates>,
    /// What is said of cgroups.
    pub rules: Arc<CgroupRules>,
    /// Where only some processes are sampled.
    pub(super) filter: Option<Filter>,
    pub(super) ring_bytes: u64,
    /// Bytes of all maps and rings.
    pub map_bytes: u64,
}

/// Loads, attaches and starts sampling. `first` is told the cgroups' rules before any sample can be taken.
pub fn load(options: &Options, first: impl FnOnce(&CgroupRules)) -> Result<Loaded, LoadError> {
    let mut programs = load_object(options)?;
    let tables =
        KernelTables::new(map(&mut programs, "SLABS")?, map(&mut programs, "PROCESSES")?).map_err(LoadError::Tables)?;
    load_programs(&mut programs)?;
    let program = perf_event(&mut programs, "walk_user")?.fd().and_then(|fd| Ok(fd.try_clone()?));
    let program = program.map_err(|source| LoadError::Program { name: "walk_user", source })?;
    let mut chain: ProgramArray<MapData> = map(&mut programs, "PROGRAMS")?;
    chain.set(0, &program, 0).map_err(|source| LoadError::Map { name: "PROGRAMS", source })?;
    let filter = Filter::new(map(&mut programs, "FILTER")?, &options.pids)?;
    let counters: PerCpuArray<MapData, Slots> = map(&mut programs, "COUNTERS")?;
    let ring = map(&mut programs, "EVENTS")?;
    let logger = if options.log { EbpfLogger::init(&mut programs).ok() } else { None };
    attach_tracepoints(&mut programs)?;
    let sample = perf_event(&mut programs, "sample")?.fd().and_then(|fd| Ok(fd.try_clone()?));
    let sample = sample.map_err(|source| LoadError::Program { name: "sample", source })?;
    let controls: Array<MapData, u64> = map(&mut programs, "CONTROLS")?;
    let own = map(&mut programs, "RATES")?;
    let rates = Arc::new(Rates::new(controls, own, options.hz, options.service_hz.clone()).map_err(LoadError::Rates)?);
    let rules = Arc::new(CgroupRules::new(map(&mut programs, "CGROUPS")?, Arc::clone(&rates)));
    first(&rules);
    let sampling = Sampling::start(options.clock, Arc::clone(&rates), sample).map_err(|error| match options.clock {
        Clock::CpuClock => LoadError::Perf(error),
        Clock::Cycles => LoadError::NoCycles(error),
    })?;
    let map_bytes = ring_bytes(options) + fixed_map_bytes() + sampling.bytes() as u64;
    Ok(Loaded {
        sampling,
        _chain: chain,
        ring,
        _programs: programs,
        tables: Some(tables),
        logger,
        counters: Arc::new(Counters::new(counters)),
        rates,
        rules,
        filter: Some(filter).filter(|_| !options.pids.is_empty()),
        ring_bytes: ring_bytes(options),
        map_bytes,
    })
}

/// Names and verified instructions of all programs: loads them, attaches nothing.
pub fn verified() -> Result<Vec<(String, u32)>, LoadError> {
    let options = Options {
        hz: 99,
        clock: Clock::CpuClock,
        kernel_stacks: true,
        pids: Vec::new(),
        follow_forks: false,
        cgroup: None,
        unwind_max_bytes: 1 << 20,
        service_hz: Vec::new(),
        ring_bytes: None,
        log: false,
    };
    let mut programs = load_object(&options)?;
    load_programs(&mut programs)?;
    let count = |program: &aya::programs::Program| program.info().ok()?.verified_instruction_count();
    Ok(programs.programs().map(|(name, program)| (name.to_owned(), count(program).unwrap_or(0))).collect())
}

fn load_object(options: &Options) -> Result<Ebpf, LoadError> {
    // The loader reads the kernel's types whether it needs them or not, and so do the settings.
    let (config, mut loader) = std::thread::scope(|scope| {
        let config = scope.spawn(|| settings(options));
        let loader = EbpfLoader::new();
        (config.join().unwrap_or_else(|panic| resume_unwind(panic)), loader)
    });
    let config = Settings(config?);
    let log_level = if options.log { aya_log::Level::Trace as u8 } else { 0 };
    let other = std::env::var_os(OBJECT_VARIABLE).map(std::fs::read).transpose();
    let other = other.map_err(|error| LoadError::Usage(format!("{OBJECT_VARIABLE}: {error}")))?;
    let programs = loader
        .btf(None)
        .override_global("CONFIG", &config, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("EVENTS", ring_bytes(options) as u32)
        .map_max_entries("SCRATCH", sampling::possible())
        .map_max_entries("SLABS", options.chunks().div_ceil(place::SLAB_CHUNKS))
        .map_max_entries("AYA_LOGS", if options.log { 128 << 10 } else { 4 << 10 })
        .load(other.as_deref().unwrap_or(OBJECT))?;
    Ok(programs)
}

fn settings(options: &Options) -> Result<Config, LoadError> {
    let btf = Btf::of_kernel()?;
    let hierarchies = Hierarchies::mounted();
    let mut config = offsets::config(&btf, &hierarchies)?;
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    config.flags = flag(options.kernel_stacks, config::KERNEL_STACKS)
        | flag(!options.pids.is_empty(), config::FILTER_PIDS)
        | flag(options.follow_forks, config::FOLLOW_FORKS)
        | flag(options.cgroup.is_some(), config::FILTER_CGROUP)
        | flag(!options.service_hz.is_empty(), config::PROCESS_RATES);
    if let Some(path) = &options.cgroup {
        let refused = |reason: String| LoadError::Usage(format!("--cgroup {}: {reason}", path.display()));
        let path = path.canonicalize().map_err(|error| refused(error.to_string()))?;
        let controller = hierarchies.of_path(&path.to_string_lossy()).map_err(refused)?;
        config.filter_hierarchy = match controller {
            None => config::UNIFIED,
            Some(name) => offsets::subsystem(&btf, name)
                .ok_or_else(|| refused(format!("the kernel does not know controller {name}")))?,
        };
        let metadata = std::fs::metadata(&path).map_err(|error| refused(error.to_string()))?;
        config.filter_cgroup = std::os::unix::fs::MetadataExt::ino(&metadata);
    }
    Ok(config)
}

/// Hands the programs to the kernel. It verifies those of the privileged side by side: the longest decides.
fn load_programs(programs: &mut Ebpf) -> Result<(), LoadError> {
    let wanted = PERF_EVENTS.into_iter().chain(TRACEPOINTS.map(|(name, _)| name));
    if let Some(name) = wanted.clone().find(|name| programs.program(name).is_none()) {
        return Err(LoadError::NoSuch(name));
    }
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (found, program) in programs.programs_mut() {
            let Some(name) = wanted.clone().find(|name| *name == found) else { continue };
            threads.push((name, scope.spawn(|| load_program(program))));
        }
        threads.into_iter().try_for_each(|(name, thread)| {
            let loaded = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            loaded.map_err(|source| LoadError::Program { name, source })
        })
    })
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::PerfEvent(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

const PERF_EVENTS: [&str; 2] = ["sample", "walk_user"];
const TRACEPOINTS: [(&str, &str); 3] = [
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
];

fn attach_tracepoints(programs: &mut Ebpf) -> Result<(), LoadError> {
    for (name, tracepoint) in TRACEPOINTS {
        raw_tracepoint(programs, name)?.attach(tracepoint).map_err(|source| LoadError::Program { name, source })?;
    }
    Ok(())
}

fn perf_event<'a>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut PerfEvent, LoadError> {
    let program = programs.program_mut(name).ok_or(LoadError::NoSuch(name))?;
    program.try_into().map_err(|source| LoadError::Program { name, source })
}

fn raw_tracepoint<'a>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut RawTracePoint, LoadError> {
    let program = programs.program_mut(name).ok_or(LoadError::NoSuch(name))?;
    program.try_into().map_err(|source| LoadError::Program { name, source })
}

fn map<T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    programs: &mut Ebpf,
    name: &'static str,
) -> Result<T, LoadError> {
    let map = programs.take_map(name).ok_or(LoadError::NoSuch(name))?;
    T::try_from(map).map_err(|source| LoadError::Map { name, source })
}

/// A power of two that holds [`RING_SECONDS`] of all CPUs' samples.
fn ring_bytes(options: &Options) -> u64 {
    options.ring_bytes.map_or_else(|| default_ring_bytes(options.hz), |bytes| bytes.next_power_of_two().max(4096))
}

/// Whether the kernel has ring buffers: makes a small one and drops it.
///
/// # Errors
/// When the kernel does not let us try.
pub fn try_ring_buffer() -> std::io::Result<bool> {
    aya::sys::is_map_supported(aya::maps::MapType::RingBuf).map_err(|error| error.io_error)
}

/// Size of the ring buffer for all online CPUs at a frequency.
#[must_use]
pub fn default_ring_bytes(hz: u32) -> u64 {
    let cpus = sampling::online().map_or(1, |cpus| cpus.len() as u64);
    let wanted = RING_SECONDS * cpus * u64::from(hz) * RECORD_BYTES;
    wanted.clamp(MIN_RING_BYTES, MAX_RING_BYTES).next_power_of_two()
}

/// The maps whose size does not depend on the frequency.
fn fixed_map_bytes() -> u64 {
    let cpus = u64::from(sampling::possible());
    let entry = 64;
    let entries = limits::MAX_SEEN + limits::MAX_FILTER_PIDS + limits::MAX_PROCESSES + limits::MAX_CGROUP_RULES;
    cpus * size_of::<record::Scratch>() as u64 + entry * u64::from(entries)
}
