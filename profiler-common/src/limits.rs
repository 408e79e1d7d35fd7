//! Every bound of the kernel side, each proven against the others at compile time.

/// Frames of user stack walked at most; deeper stacks are truncated and counted.
pub const MAX_USER_FRAMES: usize = 1024;
/// Frames of kernel stack: the kernel's own default of `kernel.perf_event_max_stack`.
pub const MAX_KERNEL_FRAMES: usize = 127;
/// Slots for frames in the scratch record, a power of two because the index is masked.
pub const FRAME_SLOTS: usize = 2048;
/// User frames one program of the tail-call chain walks.
pub const FRAMES_PER_PROGRAM: usize = 32;
/// Bytes of a user stack copied at most while a process has no tables.
pub const MAX_STACK_BYTES: usize = 16 << 10;
/// Bytes below the stack pointer that are copied, too: where a function has popped its frame pointer, gcc's rows say that
/// it is still there.
pub const RED_ZONE_BYTES: u64 = 128;
/// Stacks of one process copied in a second.
pub const MAX_COPIES_PER_PROCESS: u32 = 256;
/// Stacks copied in a second on one CPU.
pub const MAX_COPIES_PER_CPU: u32 = 1024;
/// Processes whose mappings the kernel program knows; least recently used out first.
pub const MAX_PROCESSES: u32 = 16_384;
/// Registers kept of the innermost frame: `struct pt_regs` of x86_64 has 21 slots, `user_pt_regs` of aarch64 34.
pub const REGISTER_SLOTS: usize = 64;
/// Programs in a chain; the kernel allows 33 tail calls.
pub const MAX_TAIL_CALLS: u32 = (MAX_USER_FRAMES / FRAMES_PER_PROGRAM) as u32;
/// Processes that `--pid` or a started command and its children can name.
pub const MAX_FILTER_PIDS: u32 = 16_384;
/// Processes remembered as "has had a sample" for the early wake-up; least recently used out first.
pub const MAX_SEEN: u32 = 8_192;
/// Processes with a rate of their own; least recently used out first.
pub const MAX_PROCESS_RATES: u32 = 16_384;
/// Cgroups with a rule: pods.
pub const MAX_CGROUP_RULES: u32 = 8_192;
/// Ancestors looked at for `--cgroup`; deeper hierarchies than this do not occur (systemd and kubelet stay below 12).
pub const MAX_CGROUP_DEPTH: usize = 32;
/// `TASK_COMM_LEN`.
pub const COMM_BYTES: usize = 16;

const _: () = assert!(FRAME_SLOTS.is_power_of_two());
const _: () = assert!(MAX_USER_FRAMES + MAX_KERNEL_FRAMES <= FRAME_SLOTS);
const _: () = assert!(REGISTER_SLOTS.is_power_of_two());
const _: () = assert!(MAX_TAIL_CALLS < 33);
const _: () = assert!(MAX_USER_FRAMES.is_multiple_of(FRAMES_PER_PROGRAM));
