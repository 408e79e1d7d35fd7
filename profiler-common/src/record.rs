//! Records of the ring buffer. Each begins with its kind; numbers are in host byte order.
//!
//! Times are nanoseconds of CLOCK_MONOTONIC. A process is its tgid with the group leader's start time
//! (nanoseconds of CLOCK_BOOTTIME, the clock that `/proc/PID/stat` shows in ticks).

use crate::control::EPOCHS;
use crate::limits::{COMM_BYTES, FRAME_SLOTS, MAX_KERNEL_FRAMES, MAX_STACK_BYTES, MAX_USER_FRAMES, REGISTER_SLOTS};
use crate::unwind::{
    Cursor,
    place::{MappingEntry, Place, Stamp},
};

/// A [`SampleHeader`] and its frames.
pub const SAMPLE: u32 = 1;
/// A [`ProcessEvent`]: a process was forked.
pub const FORK: u32 = 2;
/// A [`ProcessEvent`]: the last thread of a process ended.
pub const EXIT: u32 = 3;
/// A [`ProcessEvent`]: a process that had a sample runs a new executable.
pub const EXEC: u32 = 4;

/// The sample hit kernel mode.
pub const IN_KERNEL: u32 = 1;
/// The task is a kernel thread.
pub const KERNEL_THREAD: u32 = 1 << 1;

/// Where the flags of a sample hold the epoch of its rate, see [`Rate::epoch`](crate::control::Rate::epoch).
pub const EPOCH_SHIFT: u32 = 8;

/// Set in a user address that is an instruction rather than a return address: where a signal interrupted.
pub const INTERRUPTED: u64 = 1 << 63;

/// Head of a sample. `kernel_frames` and then `user_frames` addresses (u64) follow, leaf first each; after those, where
/// `stack_bytes` is not 0, a [`StackHead`] and that many bytes of user stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "host",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct SampleHeader {
    /// [`SAMPLE`].
    pub kind: u32,
    /// CPU of the sample.
    pub cpu: u32,
    /// When.
    pub time_ns: u64,
    /// 1, 2, 3, … of the records that this CPU submitted.
    pub sequence: u64,
    /// Start time of the process.
    pub start_ns: u64,
    /// kernfs id of the cgroup in the hierarchy that carries containers, 0 when unknown.
    pub cgroup_id: u64,
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Name of the thread, NUL-padded.
    pub comm: [u8; COMM_BYTES],
    /// Or of the flags of this module.
    pub flags: u32,
    /// [`UnwindStop`](crate::outcome::UnwindStop) as its number.
    pub stop: u32,
    /// At most [`MAX_KERNEL_FRAMES`].
    pub kernel_frames: u32,
    /// At most [`MAX_USER_FRAMES`].
    pub user_frames: u32,
    /// At most [`MAX_STACK_BYTES`], a multiple of 8; 0 when the walk ended in the kernel program.
    pub stack_bytes: u32,
    /// CPU time in nanoseconds that the sample stands for.
    pub period_ns: u32,
}

const _: () = assert!(size_of::<SampleHeader>() == 88);

impl SampleHeader {
    /// The epoch of its rate.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.flags >> EPOCH_SHIFT & (EPOCHS - 1)
    }
}

/// Where the agent goes on walking: the last of the user frames, and the stack from its stack pointer up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "host",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct StackHead {
    /// The frame.
    pub cursor: Cursor,
    /// Address of the first byte of stack.
    pub stack_start: u64,
    /// The process's mappings when the stack was copied.
    pub stamps: Stamps,
    /// The innermost frame's registers by slot, see [`Rule::register`](crate::unwind::Rule::register).
    pub registers: [u64; REGISTER_SLOTS],
}

const _: () = assert!(size_of::<StackHead>() == 64 + 8 * REGISTER_SLOTS);

/// What tells a process's mappings apart from those at another time, see [`Stamp`](crate::unwind::place::Stamp).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "host",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct Stamps {
    /// By their size.
    pub size: Stamp,
    /// By their changes; 0 where the kernel does not count them.
    pub changes: Stamp,
}

/// The longest sample in bytes.
pub const MAX_SAMPLE_BYTES: usize =
    size_of::<SampleHeader>() + 8 * (MAX_KERNEL_FRAMES + MAX_USER_FRAMES) + size_of::<StackHead>() + MAX_STACK_BYTES;

/// A change in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "host",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct ProcessEvent {
    /// [`FORK`], [`EXIT`] or [`EXEC`].
    pub kind: u32,
    /// CPU of the event.
    pub cpu: u32,
    /// When.
    pub time_ns: u64,
    /// Start time of the process.
    pub start_ns: u64,
    /// Start time of the parent for [`FORK`], else 0.
    pub parent_start_ns: u64,
    /// Process id.
    pub tgid: u32,
    /// Process id of the parent for [`FORK`], else 0.
    pub parent_tgid: u32,
    /// For [`FORK`] where the mappings lie that the child has from its parent, see
    /// [`ProcessEntry::branches`](crate::unwind::place::ProcessEntry::branches); 0 when the parent's are not known.
    pub branches: Place,
    /// Zero.
    pub padding: u32,
}

const _: () = assert!(size_of::<ProcessEvent>() == 48);

/// What the kernel program remembers of a process that had a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Seen {
    /// CLOCK_MONOTONIC in seconds.
    pub second: u32,
    /// Stacks copied in that second.
    pub copies: u32,
}

/// Slots after those for frames: a stack's head and the stack, wherever the frames end.
pub const STACK_SLOTS: usize = (size_of::<StackHead>() + MAX_STACK_BYTES) / 8;

/// State of a walk on one CPU, and the sample being put together in it.
#[repr(C)]
pub struct Scratch {
    /// Start of the program, CLOCK_MONOTONIC.
    pub entered_ns: u64,
    /// Address of the running task.
    pub task: u64,
    /// Which of the firings is sampled, see [`Turn`](crate::control::Turn).
    pub turn: u32,
    /// Zero.
    pub padding: u32,
    /// Programs of the chain run so far.
    pub tail_calls: u32,
    /// Stacks copied on this CPU in the second `copied_second`.
    pub copies: u32,
    /// CLOCK_MONOTONIC in seconds.
    pub copied_second: u64,
    /// Not 0 when the process's mappings are others than those told.
    pub outdated: u64,
    /// The mapping of the frame before: the likeliest.
    pub mapping: MappingEntry,
    /// Where the walk is, and the registers it began with. `stack_start` is unused until the stack is copied.
    pub walk: StackHead,
    /// The sample's head.
    pub header: SampleHeader,
    /// The sample's frames, and behind them a stack.
    pub frames: [u64; FRAME_SLOTS + STACK_SLOTS],
}
