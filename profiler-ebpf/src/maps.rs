//! All maps and the settings. Sizes that depend on the host are set by the agent before load.

use aya_ebpf::{
    btf_maps::{HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::btf_map,
    programs::PerfEventContext,
};
use profiler_common::{config::Config, limits, outcome::counter, record::Scratch};

/// Settings, read-only; read them with [`setting!`].
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::EMPTY;

/// Reads a setting by the name of its field.
macro_rules! setting {
    ($field:ident) => {
        $crate::maps::read_setting(&raw const $crate::maps::CONFIG.$field)
    };
}
pub(crate) use setting;

/// Volatile: the value is set after compilation.
#[inline(always)]
pub fn read_setting<T: Copy>(field: *const T) -> T {
    // SAFETY: `setting!` names a field of a static.
    unsafe { field.read_volatile() }
}

/// Records to the agent. The agent sets the size from CPUs and frequency.
#[btf_map]
pub static EVENTS: RingBuf<u64, { 256 << 10 }> = RingBuf::new();

/// State of the walk on this CPU.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Counters, see [`counter`].
#[btf_map]
pub static COUNTERS: PerCpuArray<[u64; counter::COUNT as usize], 1> = PerCpuArray::new();

/// The programs that tail calls reach.
#[btf_map]
pub static PROGRAMS: ProgramArray<1> = ProgramArray::new();

/// Processes (tgid) that may be sampled, where `FILTER_PIDS` is set.
#[btf_map]
pub static FILTER: HashMap<u32, u32, { limits::MAX_FILTER_PIDS as usize }> = HashMap::new();

/// Processes (start time xor tgid) that had a sample: the first one wakes the agent.
#[btf_map]
pub static SEEN: LruHashMap<u64, u32, { limits::MAX_SEEN as usize }> = LruHashMap::new();

/// Goes on in the walking program; comes back only when that failed.
#[inline(always)]
pub fn tail_call_walk(ctx: &PerfEventContext) {
    // SAFETY: the agent fills the slot with a perf event program.
    let _ = unsafe { PROGRAMS.tail_call(ctx, 0) };
}
