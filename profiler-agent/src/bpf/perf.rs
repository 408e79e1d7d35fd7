//! perf events: opening, attaching, the shared ring. Layouts: `include/uapi/linux/perf_event.h`.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// What drives sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The cpu-clock software event: a timer per CPU.
    CpuClock,
    /// The hardware's cycle counter.
    Cycles,
}

/// `struct perf_event_attr` up to PERF_ATTR_SIZE_VER5.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period_or_frequency: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clock_id: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}

const _: () = assert!(size_of::<Attributes>() == 112);

const TYPE_HARDWARE: u32 = 0;
const TYPE_SOFTWARE: u32 = 1;
const HW_CPU_CYCLES: u64 = 0;
const SW_CPU_CLOCK: u64 = 0;
const SW_DUMMY: u64 = 9;
const SAMPLE_TIME: u64 = 1 << 2;
const DISABLED: u64 = 1;
const EXCLUDE_IDLE: u64 = 1 << 7;
const MMAP: u64 = 1 << 8;
const COMM: u64 = 1 << 9;
const FREQUENCY: u64 = 1 << 10;
const WATERMARK: u64 = 1 << 14;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const MMAP2: u64 = 1 << 23;
const COMM_EXEC: u64 = 1 << 24;
const USE_CLOCK_ID: u64 = 1 << 25;
const FLAG_FD_CLOEXEC: libc::c_ulong = 8;
const IOC_ENABLE: libc::c_ulong = 0x2400;
const IOC_DISABLE: libc::c_ulong = 0x2401;
const IOC_PERIOD: libc::c_ulong = 0x4008_2404;
const IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

/// A sampling event of every task on one CPU, not on its idle task; not enabled yet.
///
/// cpu-clock has a fixed period of `1e9 / hz` ns; cycles let the kernel adjust to the frequency.
pub(super) fn open_sampler(cpu: u32, clock: Clock, hz: u32) -> Result<OwnedFd> {
    let attributes = match clock {
        Clock::CpuClock => Attributes {
            kind: TYPE_SOFTWARE,
            config: SW_CPU_CLOCK,
            period_or_frequency: period_or_frequency(clock, hz),
            flags: DISABLED | EXCLUDE_IDLE,
            ..Attributes::default()
        },
        Clock::Cycles => Attributes {
            kind: TYPE_HARDWARE,
            config: HW_CPU_CYCLES,
            period_or_frequency: period_or_frequency(clock, hz),
            flags: DISABLED | EXCLUDE_IDLE | FREQUENCY,
            ..Attributes::default()
        },
    };
    open(attributes, cpu)
}

/// Nanoseconds between two firings of cpu-clock; Hz for cycles.
fn period_or_frequency(clock: Clock, hz: u32) -> u64 {
    match clock {
        Clock::CpuClock => u64::from(1_000_000_000 / hz),
        Clock::Cycles => u64::from(hz),
    }
}

/// An event that counts nothing and reports exec and executable mappings of every task on one CPU.
pub(super) fn open_sideband(cpu: u32, watermark_bytes: u32) -> Result<OwnedFd> {
    let attributes = Attributes {
        kind: TYPE_SOFTWARE,
        config: SW_DUMMY,
        sample_type: SAMPLE_TIME,
        flags: MMAP | MMAP2 | COMM | COMM_EXEC | SAMPLE_ID_ALL | WATERMARK | USE_CLOCK_ID,
        wakeup: watermark_bytes,
        clock_id: libc::CLOCK_MONOTONIC,
        ..Attributes::default()
    };
    open(attributes, cpu)
}

fn open(mut attributes: Attributes, cpu: u32) -> Result<OwnedFd> {
    attributes.size = size_of::<Attributes>() as u32;
    let (every_task, no_group) = (-1, -1);
    // SAFETY: the kernel reads `size` bytes of the attributes.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, every_task, cpu, no_group, FLAG_FD_CLOEXEC)
    };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: a descriptor just made and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Runs a program at each overflow of the event.
pub(super) fn attach(event: &OwnedFd, program: BorrowedFd<'_>) -> Result<()> {
    ioctl(event, IOC_SET_BPF, program.as_raw_fd() as libc::c_ulong)
}

/// Starts the event.
pub(super) fn enable(event: &OwnedFd) -> Result<()> {
    ioctl(event, IOC_ENABLE, 0)
}

/// Stops an event.
pub(super) fn disable(event: &OwnedFd) -> Result<()> {
    ioctl(event, IOC_DISABLE, 0)
}

/// Another rate for an event that runs. Its timer starts anew with a whole period.
pub(super) fn set_hz(event: &OwnedFd, clock: Clock, hz: u32) -> Result<()> {
    let value = period_or_frequency(clock, hz);
    // SAFETY: the request reads a 64-bit integer at the address.
    match unsafe { libc::ioctl(event.as_raw_fd(), IOC_PERIOD as _, &raw const value) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn ioctl(event: &OwnedFd, request: libc::c_ulong, argument: libc::c_ulong) -> Result<()> {
    // SAFETY: the requests used here take an integer.
    match unsafe { libc::ioctl(event.as_raw_fd(), request as _, argument) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// The event's count; stands still once its CPU went away.
pub(super) fn count(event: &OwnedFd) -> Option<u64> {
    let mut value = [0_u8; 8];
    // SAFETY: the buffer is 8 bytes, as the length says.
    let read = unsafe { libc::read(event.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
    (read == 8).then(|| u64::from_ne_bytes(value))
}

/// Offsets of `data_head` and `data_tail` in `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// The ring that an event writes its records to: one control page, then a power of two of data pages.
#[derive(Debug)]
pub(super) struct Ring {
    base: *mut u8,
    page_bytes: usize,
    data_bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; the kernel side is synchronised by head and tail.
unsafe impl Send for Ring {}

impl Ring {
    pub(super) fn map(event: &OwnedFd, data_bytes: usize) -> Result<Self> {
        let page_bytes = page_bytes();
        let data_bytes = data_bytes.next_multiple_of(page_bytes).next_power_of_two();
        let (length, protection) = (page_bytes + data_bytes, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, event.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        Ok(Self { base: base.cast(), page_bytes, data_bytes })
    }

    pub(super) fn bytes(&self) -> usize {
        self.page_bytes + self.data_bytes
    }

    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the control page.
        let position = unsafe { self.base.add(offset) };
        // SAFETY: 8-byte aligned, and shared with the kernel, which treats it as atomic.
        unsafe { AtomicU64::from_ptr(position.cast()) }
    }

    /// Hands every record to `each`: type, misc, body. Returns false where a record made no sense.
    pub(super) fn drain(&mut self, mut each: impl FnMut(u32, u16, &[u8])) -> bool {
        let head = self.position(DATA_HEAD).load(Ordering::Acquire);
        let mut tail = self.position(DATA_TAIL).load(Ordering::Relaxed);
        let mut record = Vec::new();
        let mut sane = true;
        while tail < head {
            let mut header = [0; 8];
            self.copy(tail, &mut header);
            let [k0, k1, k2, k3, m0, m1, s0, s1] = header;
            let size = u64::from(u16::from_ne_bytes([s0, s1]));
            if size < 8 || size > head - tail {
                sane = false;
                tail = head;
                break;
            }
            record.resize(size as usize - 8, 0);
            self.copy(tail + 8, &mut record);
            each(u32::from_ne_bytes([k0, k1, k2, k3]), u16::from_ne_bytes([m0, m1]), &record);
            tail += size;
        }
        self.position(DATA_TAIL).store(tail, Ordering::Release);
        sane
    }

    /// Copies from a position that counts without end; the data wraps.
    fn copy(&self, position: u64, target: &mut [u8]) {
        let at = position as usize & (self.data_bytes - 1);
        let first = target.len().min(self.data_bytes - at);
        let (head, rest) = target.split_at_mut(first);
        for (offset, part) in [(at, head), (0, rest)] {
            // SAFETY: the range lies in the data pages, and the kernel does not write between tail and head.
            let source = unsafe { self.base.add(self.page_bytes + offset) };
            // SAFETY: both ranges hold `part.len()` bytes and do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(source, part.as_mut_ptr(), part.len()) };
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`.
        unsafe { libc::munmap(self.base.cast(), self.bytes()) };
    }
}

fn page_bytes() -> usize {
    // SAFETY: no pointer involved.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}
