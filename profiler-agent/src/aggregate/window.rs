//! Samples of one window, each distinct frame, stack and thread once.

use crate::bpf::Sample;
use crate::process::{CodeAddress, Executable, Identity, ProcessKey};
use crate::profile::FrameKind;
use crate::telemetry::ledger::{DropReason, Pending};
use std::collections::HashMap;
use std::sync::Arc;

/// Distinct stacks of a window; more than a busy 256-CPU host has in ten seconds at 99 Hz.
const MAX_STACKS: usize = 262_144;
/// Frames of all distinct stacks together: 32 MiB.
const MAX_FRAMES: usize = 8 << 20;

/// A frame before it has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Index into [`Window::executables`].
    pub executable: u32,
    /// Address in it.
    pub address: u64,
    /// What kind of code.
    pub kind: FrameKind,
}

/// A process with a sample.
#[derive(Clone, Debug)]
pub struct WindowProcess {
    /// Which.
    pub key: ProcessKey,
    /// What it is called.
    pub identity: Arc<Identity>,
}

/// A thread with a sample.
#[derive(Clone, Debug)]
pub struct WindowThread {
    /// Index into [`Window::processes`].
    pub process: u32,
    /// Thread id.
    pub tid: u32,
    /// Its name at the first sample.
    pub name: Arc<str>,
}

/// Samples counted by stack and thread.
#[derive(Debug, Default)]
pub struct Window {
    /// Start in Unix nanoseconds.
    pub start_unix_ns: u64,
    /// Length in nanoseconds, set when it closes.
    pub duration_ns: u64,
    /// CPU time in nanoseconds that one sample stands for.
    pub period_ns: u64,
    /// Files with a frame.
    pub executables: Vec<Arc<Executable>>,
    /// Distinct frames.
    pub frames: Vec<Frame>,
    /// Distinct stacks as indices of frames, leaf first.
    pub stacks: Vec<Arc<[u32]>>,
    /// Processes.
    pub processes: Vec<WindowProcess>,
    /// Threads.
    pub threads: Vec<WindowThread>,
    /// Samples by stack and thread.
    pub counts: HashMap<(u32, u32), u64>,
    /// Stands for the samples, once there are some.
    pub pending: Option<Pending>,
    stack_frames: usize,
    executable_index: HashMap<u32, u32>,
    frame_index: HashMap<Frame, u32>,
    stack_index: HashMap<Arc<[u32]>, u32>,
    process_index: HashMap<ProcessKey, u32>,
    thread_index: HashMap<(u32, u32), u32>,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(start_unix_ns: u64, period_ns: u64) -> Self {
        Self { start_unix_ns, period_ns, ..Self::default() }
    }

    /// Adds a sample with its [frames](Window::frame), leaf first.
    pub fn add(&mut self, sample: &Sample, identity: &Arc<Identity>, frames: Vec<u32>, one: Pending) {
        let Some(stack) = self.stack(frames) else { return one.dropped(DropReason::WindowFull) };
        let thread = self.thread(sample, identity);
        *self.counts.entry((stack, thread)).or_default() += one.count();
        match &mut self.pending {
            Some(pending) => pending.merge(one),
            None => self.pending = Some(one),
        }
    }

    /// Samples in the window.
    #[must_use]
    pub fn sample_count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Index of a frame.
    pub fn frame(&mut self, code: &CodeAddress, kind: FrameKind) -> u32 {
        let executables = &mut self.executables;
        let executable = *self.executable_index.entry(code.executable.id).or_insert_with(|| {
            executables.push(Arc::clone(&code.executable));
            executables.len() as u32 - 1
        });
        let frame = Frame { executable, address: code.address, kind };
        *self.frame_index.entry(frame).or_insert_with(|| {
            self.frames.push(frame);
            self.frames.len() as u32 - 1
        })
    }

    fn stack(&mut self, frames: Vec<u32>) -> Option<u32> {
        if let Some(&known) = self.stack_index.get(frames.as_slice()) {
            return Some(known);
        }
        if self.stacks.len() >= MAX_STACKS || self.stack_frames + frames.len() > MAX_FRAMES {
            return None;
        }
        self.stack_frames += frames.len();
        let stack: Arc<[u32]> = frames.into();
        let index = self.stacks.len() as u32;
        self.stacks.push(Arc::clone(&stack));
        self.stack_index.insert(stack, index);
        Some(index)
    }

    fn thread(&mut self, sample: &Sample, identity: &Arc<Identity>) -> u32 {
        let key = ProcessKey { tgid: sample.header.tgid, start_ns: sample.header.start_ns };
        // A process that runs a new executable is another one from then on.
        let known = self.process_index.get(&key).copied();
        let known = known.filter(|&index| Arc::ptr_eq(&self.processes[index as usize].identity, identity));
        let process = known.unwrap_or_else(|| {
            self.processes.push(WindowProcess { key, identity: Arc::clone(identity) });
            let index = self.processes.len() as u32 - 1;
            self.process_index.insert(key, index);
            index
        });
        *self.thread_index.entry((process, sample.header.tid)).or_insert_with(|| {
            let name = Arc::from(sample.comm());
            self.threads.push(WindowThread { process, tid: sample.header.tid, name });
            self.threads.len() as u32 - 1
        })
    }
}
