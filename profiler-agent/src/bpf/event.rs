//! What the reader hands on, decoded.

use profiler_common::{
    limits::{MAX_KERNEL_FRAMES, MAX_STACK_BYTES, MAX_USER_FRAMES},
    record::{self, ProcessEvent, SampleHeader, StackHead},
};
use std::sync::Arc;
use zerocopy::FromBytes;

/// Now, on the clock of events.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One thing that happened, at a time in nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stack was sampled.
    Sample(Sample),
    /// A process was forked or ended.
    Process(ProcessEvent),
    /// A process begins to run a new executable: its mappings are gone.
    Exec(ExecEvent),
    /// An executable file was mapped.
    Mmap(MmapEvent),
    /// Mappings or changes of processes went missing before this time.
    Lost {
        /// When that was found.
        time_ns: u64,
        /// Whose.
        whose: Lost,
    },
}

impl Event {
    /// When.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Sample(sample) => sample.header.time_ns,
            Self::Process(event) => event.time_ns,
            Self::Exec(event) => event.time_ns,
            Self::Mmap(event) => event.time_ns,
            Self::Lost { time_ns, .. } => *time_ns,
        }
    }
}

/// Whose events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Of any process.
    Any,
    /// Of processes without a sample so far: they were left out.
    Unsampled,
}

/// A sample with its addresses.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Who and when.
    pub header: SampleHeader,
    /// Kernel addresses, then user addresses, leaf first each.
    pub frames: Box<[u64]>,
    /// What is left to walk: the last of the user addresses is its first frame.
    pub stack: Option<Box<CopiedStack>>,
}

/// Registers and stack of a task.
#[derive(Clone, Debug)]
pub struct CopiedStack {
    /// Where the walk is.
    pub head: StackHead,
    /// Memory from `head.stack_start` up.
    pub bytes: Box<[u8]>,
}

impl Sample {
    /// Name of the thread, printable. Hostile text.
    #[must_use]
    pub fn comm(&self) -> String {
        let comm = &self.header.comm;
        let end = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
        String::from_utf8_lossy(&comm[..end]).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    }

    /// Addresses in the kernel, leaf first.
    #[must_use]
    pub fn kernel_frames(&self) -> &[u64] {
        &self.frames[..self.header.kernel_frames as usize]
    }

    /// Addresses in the process, leaf first.
    #[must_use]
    pub fn user_frames(&self) -> &[u64] {
        &self.frames[self.header.kernel_frames as usize..]
    }
}

/// A process begins to run a new executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecEvent {
    /// When.
    pub time_ns: u64,
    /// Process id.
    pub tgid: u32,
}

/// An executable mapping came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MmapEvent {
    /// When.
    pub time_ns: u64,
    /// Process id.
    pub tgid: u32,
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Offset of the first address in the file.
    pub file_offset: u64,
    /// Device number as `st_dev` has it.
    pub device: u64,
    /// Inode number, 0 for no file.
    pub inode: u64,
    /// Path as the process sees it, or a name such as `[vdso]` or `//anon`.
    pub path: Arc<str>,
}

/// Decodes a record of the ring buffer; none when it makes no sense.
pub(crate) fn decode(bytes: &[u8]) -> Option<Event> {
    let (kind, _) = u32::read_from_prefix(bytes).ok()?;
    match kind {
        record::SAMPLE => decode_sample(bytes).map(Event::Sample),
        record::FORK | record::EXIT => {
            ProcessEvent::read_from_prefix(bytes).ok().map(|(event, _)| Event::Process(event))
        }
        record::EXEC => {
            let (event, _) = ProcessEvent::read_from_prefix(bytes).ok()?;
            Some(Event::Exec(ExecEvent { time_ns: event.time_ns, tgid: event.tgid }))
        }
        _ => None,
    }
}

/// Head of a record that is a sample, however little sense the rest makes.
pub(crate) fn sample_header(bytes: &[u8]) -> Option<SampleHeader> {
    let (header, _) = SampleHeader::read_from_prefix(bytes).ok()?;
    (header.kind == record::SAMPLE).then_some(header)
}

fn decode_sample(bytes: &[u8]) -> Option<Sample> {
    let (header, rest) = SampleHeader::read_from_prefix(bytes).ok()?;
    let (kernel, user) = (header.kernel_frames as usize, header.user_frames as usize);
    if kernel > MAX_KERNEL_FRAMES || user > MAX_USER_FRAMES {
        return None;
    }
    let frames = rest.get(..8 * (kernel + user))?;
    let stack = if header.stack_bytes == 0 { None } else { Some(decode_stack(&rest[frames.len()..], &header)?) };
    let frames = frames.chunks_exact(8).map(|chunk| u64::read_from_bytes(chunk).unwrap_or_default()).collect();
    Some(Sample { header, frames, stack })
}

fn decode_stack(bytes: &[u8], header: &SampleHeader) -> Option<Box<CopiedStack>> {
    let (head, bytes) = StackHead::read_from_prefix(bytes).ok()?;
    let bytes = bytes.get(..header.stack_bytes as usize).filter(|bytes| bytes.len() <= MAX_STACK_BYTES)?;
    Some(Box::new(CopiedStack { head, bytes: bytes.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    fn header(kernel_frames: u32, user_frames: u32) -> SampleHeader {
        SampleHeader { kind: record::SAMPLE, kernel_frames, user_frames, ..SampleHeader::new_zeroed() }
    }

    #[test]
    fn splits_kernel_and_user_frames() {
        let mut bytes = header(1, 2).as_bytes().to_vec();
        [7_u64, 8, 9].iter().for_each(|frame| bytes.extend(frame.to_ne_bytes()));
        let Some(Event::Sample(sample)) = decode(&bytes) else { panic!("no sample") };
        assert_eq!((sample.kernel_frames(), sample.user_frames()), (&[7][..], &[8, 9][..]));
    }

    #[test]
    fn a_copied_stack_follows_the_frames() {
        let mut bytes = SampleHeader { stack_bytes: 16, ..header(0, 1) }.as_bytes().to_vec();
        bytes.extend(7_u64.to_ne_bytes());
        let head = StackHead { stack_start: 0x1000, ..StackHead::new_zeroed() };
        bytes.extend(head.as_bytes());
        bytes.extend([9; 16]);
        let Some(Event::Sample(sample)) = decode(&bytes) else { panic!("no sample") };
        let stack = sample.stack.unwrap();
        assert_eq!((stack.head.stack_start, &*stack.bytes), (0x1000, &[9; 16][..]));
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
    }

    #[test]
    fn refuses_counts_beyond_the_record() {
        assert!(decode(header(0, 1).as_bytes()).is_none());
        assert_eq!(sample_header(header(0, 1).as_bytes()), Some(header(0, 1)));
        assert_eq!(sample_header(&[9; 200]), None);
        assert!(decode(header(u32::MAX, 0).as_bytes()).is_none());
        assert!(decode(&[9, 0, 0, 0]).is_none());
        assert!(decode(&[1]).is_none());
    }
}
