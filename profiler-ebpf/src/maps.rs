//! All maps and the settings. Sizes that depend on the host are set by the agent before load.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
    helpers::generated::bpf_get_smp_processor_id,
    macros::btf_map,
    programs::PerfEventContext,
};
use profiler_common::{
    config::Config,
    control::{self, ProcessRate},
    limits,
    outcome::counter,
    record::{Scratch, Seen},
    unwind::place::{CHUNK_MAP_BYTES, ProcessEntry, SLAB_CHUNKS},
};

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

/// State of the walk, by CPU; larger than a value of a per-CPU map may be. The agent sets the number of CPUs.
#[btf_map]
pub static SCRATCH: Array<Scratch, 1> = Array::new();

/// [`SCRATCH`] of this CPU.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    // SAFETY: no argument.
    SCRATCH.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

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
pub static SEEN: LruHashMap<u64, Seen, { limits::MAX_SEEN as usize }> = LruHashMap::new();

/// Processes (tgid) whose mappings the agent has told.
#[btf_map]
pub static PROCESSES: LruHashMap<u32, ProcessEntry, { limits::MAX_PROCESSES as usize }> = LruHashMap::new();

/// What the agent changes while the programs run, see [`control`].
#[btf_map]
pub static CONTROLS: Array<u64, { control::COUNT as usize }> = Array::new();

/// Processes (tgid) with a rate of their own, where `PROCESS_RATES` is set.
#[btf_map]
pub static RATES: LruHashMap<u32, ProcessRate, { limits::MAX_PROCESS_RATES as usize }> = LruHashMap::new();

/// Rules of cgroups by their kernfs ids, see [`control::EXCLUDED`]. Filled as needed: most hosts have none.
#[btf_map]
pub static CGROUPS: HashMap<u64, u32, { limits::MAX_CGROUP_RULES as usize }> = HashMap::new();

/// Bytes of a chunk of tables.
pub type ChunkBytes = [u64; CHUNK_MAP_BYTES / 8];

/// Tables, see [`profiler_common::unwind::place`]. The agent sets how many slabs there may be, and makes them.
#[btf_map]
pub static SLABS: ArrayOfMaps<Array<ChunkBytes, { SLAB_CHUNKS as usize }>, 1> = ArrayOfMaps::new();

/// Goes on in the walking program; comes back only when that failed.
#[inline(always)]
pub fn tail_call_walk(ctx: &PerfEventContext) {
    // SAFETY: the agent fills the slot with a perf event program.
    let _ = unsafe { PROGRAMS.tail_call(ctx, 0) };
}
