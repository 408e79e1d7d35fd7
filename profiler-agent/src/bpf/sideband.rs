//! Exec and mappings of executable files as perf reports them, one ring per CPU. They come in the order in which they
//! happened: an exec, then the mappings of the new image.

use super::event::{Event, ExecEvent, MmapEvent};
use super::perf::{self, Ring};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Data bytes of a ring: 250 mappings, a fork storm's worth of 100 ms on one CPU.
const RING_BYTES: usize = 64 << 10;
const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
/// The name changed because of an exec.
const MISC_COMM_EXEC: u16 = 1 << 13;
const RECORD_MMAP2: u32 = 10;
/// Fields before the path: pid, tid, addr, len, pgoff, maj, min, ino, ino_generation, prot, flags.
const PATH_AT: usize = 64;

/// The side band of one CPU.
#[derive(Debug)]
pub(super) struct Sideband {
    event: OwnedFd,
    ring: Ring,
}

impl Sideband {
    pub(super) fn open(cpu: u32) -> std::io::Result<Self> {
        let event = perf::open_sideband(cpu, RING_BYTES as u32 / 2)?;
        let ring = Ring::map(&event, RING_BYTES)?;
        Ok(Self { event, ring })
    }

    pub(super) fn event(&self) -> &OwnedFd {
        &self.event
    }

    pub(super) fn bytes(&self) -> usize {
        self.ring.bytes()
    }

    /// Appends what came of processes that are wanted; returns how many records were lost and how many were left out.
    pub(super) fn drain(&mut self, into: &mut Vec<Event>, wants: impl Fn(u32) -> bool) -> (u64, u64) {
        let (mut lost, mut shed) = (0, 0);
        let sane = self.ring.drain(|kind, misc, body| match kind {
            RECORD_COMM | RECORD_MMAP2 if !u32_at(body, 0).is_some_and(&wants) => shed += 1,
            RECORD_COMM if misc & MISC_COMM_EXEC != 0 => into.extend(decode_exec(body).map(Event::Exec)),
            RECORD_MMAP2 => into.extend(decode_mapping(body).map(Event::Mmap)),
            RECORD_LOST => lost += u64_at(body, 8).unwrap_or(1),
            _ => {}
        });
        (lost + u64::from(!sane), shed)
    }
}

fn decode_exec(body: &[u8]) -> Option<ExecEvent> {
    Some(ExecEvent { time_ns: u64_at(body, body.len().checked_sub(8)?)?, tgid: u32_at(body, 0)? })
}

fn decode_mapping(body: &[u8]) -> Option<MmapEvent> {
    let (start, length) = (u64_at(body, 8)?, u64_at(body, 16)?);
    let path = body.get(PATH_AT..body.len().checked_sub(8)?)?;
    let path = &path[..path.iter().position(|&byte| byte == 0).unwrap_or(path.len())];
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Some(MmapEvent {
        time_ns: u64_at(body, body.len() - 8)?,
        tgid: u32_at(body, 0)?,
        start,
        end: start.checked_add(length)?,
        file_offset: u64_at(body, 24)?,
        device: libc::makedev(u32_at(body, 32)?, u32_at(body, 36)?),
        inode: u64_at(body, 40)?,
        path: Arc::from(String::from_utf8_lossy(path)),
    })
}

fn u64_at(body: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(body.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_a_mapping() {
        let mut body = Vec::new();
        body.extend([7_u32.to_ne_bytes(), 8_u32.to_ne_bytes()].concat());
        body.extend([0x1000_u64, 0x2000, 0x3000].map(u64::to_ne_bytes).concat());
        body.extend([8_u32, 1].map(u32::to_ne_bytes).concat());
        body.extend([42_u64, 0].map(u64::to_ne_bytes).concat());
        body.extend([5_u32, 2].map(u32::to_ne_bytes).concat());
        body.extend(b"/bin/a\0\0");
        body.extend(99_u64.to_ne_bytes());
        let event = decode_mapping(&body).unwrap();
        assert_eq!((event.tgid, event.start, event.end, event.file_offset), (7, 0x1000, 0x3000, 0x3000));
        assert_eq!((event.inode, event.time_ns, &*event.path), (42, 99, "/bin/a"));
        (0..body.len()).for_each(|length| drop(decode_mapping(&body[..length])));
    }
}
