//! Records of the ring buffer. Each begins with its kind; numbers are in host byte order.
//!
//! Times are nanoseconds of CLOCK_MONOTONIC. A process is its tgid with the group leader's start time
//! (nanoseconds of CLOCK_BOOTTIME, the clock that `/proc/PID/stat` shows in ticks).

use crate::limits::{COMM_BYTES, FRAME_SLOTS, MAX_KERNEL_FRAMES, MAX_USER_FRAMES};

/// A [`SampleHeader`] and its frames.
pub const SAMPLE: u32 = 1;
/// A [`ProcessEvent`]: a process was forked.
pub const FORK: u32 = 2;
/// A [`ProcessEvent`]: the last thread of a process ended.
pub const EXIT: u32 = 3;

/// The sample hit kernel mode.
pub const IN_KERNEL: u32 = 1;
/// The task is a kernel thread.
pub const KERNEL_THREAD: u32 = 1 << 1;

/// Head of a sample. `kernel_frames` and then `user_frames` addresses (u64) follow, leaf first each.
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
}

const _: () = assert!(size_of::<SampleHeader>() == 80);

/// The longest sample in bytes.
pub const MAX_SAMPLE_BYTES: usize = size_of::<SampleHeader>() + 8 * (MAX_KERNEL_FRAMES + MAX_USER_FRAMES);

/// A change in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "host",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct ProcessEvent {
    /// [`FORK`] or [`EXIT`].
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
}

const _: () = assert!(size_of::<ProcessEvent>() == 40);

/// Per-CPU state of a walk, and the sample being put together in it.
#[repr(C)]
pub struct Scratch {
    /// Next program counter.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Start of the program, CLOCK_MONOTONIC.
    pub entered_ns: u64,
    /// Programs of the chain run so far.
    pub tail_calls: u32,
    /// Zero.
    pub padding: u32,
    /// The sample's head.
    pub header: SampleHeader,
    /// The sample's frames.
    pub frames: [u64; FRAME_SLOTS],
}

// A per-CPU map value is at most 32 KiB (PCPU_MIN_UNIT_SIZE).
const _: () = assert!(size_of::<Scratch>() <= 32 * 1024);
