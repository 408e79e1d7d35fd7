//! The thread between the ring reader and the symbolizer: events become samples of a window.
//!
//! It alone knows the processes. A window that cannot be handed on because the symbolizer is still busy grows on. A
//! sample whose stack has to be walked here waits for the tables of its files.

use crate::aggregate::{KnownFrame, KnownFrames, Open, OpenWindows, Window};
use crate::bpf::reader::Batch;
use crate::bpf::{Event, KernelTables, Lost, Sample};
use crate::governor::ServiceRates;
use crate::host::unix_ns;
use crate::kubernetes::PodNames;
use crate::process::{ExecutableKind, ProcessKey, ProcessTable};
use crate::profile::FrameKind;
use crate::telemetry::ledger::Pending;
use crate::telemetry::lose;
use crate::telemetry::metrics::{Metric, Metrics};
use crate::unwind::Unwinder;
use profiler_common::outcome::UnwindStop;
use profiler_common::record::{FORK, IN_KERNEL, INTERRUPTED, KERNEL_THREAD, ProcessEvent};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Samples that wait for tables at most: 16 MiB of stacks.
const MAX_WAITING: usize = 1024;
/// How long a sample waits: a big table takes seconds to build where the agent has to share its CPU.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How often is looked for tables while one waits.
const LOOK: Duration = Duration::from_millis(5);
/// Between two tries to hand on a window that nobody takes.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A sample that waits for tables.
#[derive(Debug)]
pub struct Waiting {
    sample: Sample,
    one: Pending,
    since: Instant,
}

/// Turns batches into windows.
pub struct Pipeline {
    /// All processes.
    pub processes: ProcessTable,
    /// Walks what the kernel program could not.
    pub unwinder: Unwinder<KernelTables>,
    /// Samples that wait for tables, oldest first.
    pub waiting: Vec<Waiting>,
    /// Where windows go.
    pub windows: SyncSender<Window>,
    /// Length of a window; none for one that ends with the batches.
    pub interval: Option<Duration>,
    /// CPU time in nanoseconds that one sample stands for at first.
    pub period_ns: u32,
    /// Services with a rate of their own.
    pub services: ServiceRates,
    /// Told of processes, so that it has their names in time.
    pub pods: PodNames,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Runs until the reader is done; the last windows then go out whatever they hold.
    pub fn run(mut self, batches: &Receiver<Batch>) {
        let mut windows = OpenWindows::new(self.period_ns, self.interval, Instant::now(), unix_ns());
        loop {
            let due = windows.due().map(|due| due.saturating_duration_since(Instant::now()));
            let due = due.unwrap_or(Duration::from_secs(3600)).max(BUSY_PAUSE);
            match batches.recv_timeout(if self.waiting.is_empty() { due } else { due.min(LOOK) }) {
                Ok(batch) => self.take(batch, &mut windows),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.take_waiting(&mut windows);
            self.hand_on(&mut windows);
        }
        while !self.waiting.is_empty() {
            std::thread::sleep(LOOK);
            self.take_waiting(&mut windows);
        }
        for mut open in windows.into_closed(Instant::now()) {
            close(&mut open.window);
            if let Err(lost) = self.windows.send(open.window) {
                drop(lost);
                tracing::error!("the symbolizer is gone, the last window is lost");
            }
        }
    }

    /// Hands on what has to close. What cannot be handed on grows on.
    fn hand_on(&mut self, windows: &mut OpenWindows) {
        let awaited = |epoch| self.waiting.iter().any(|waiting| waiting.sample.header.epoch() == epoch);
        while let Some(mut open) = windows.take_due(Instant::now(), unix_ns(), awaited) {
            close(&mut open.window);
            match self.windows.try_send(open.window) {
                Ok(()) => {}
                Err(TrySendError::Full(window) | TrySendError::Disconnected(window)) => {
                    open.window = window;
                    return windows.put_back(open);
                }
            }
        }
    }

    fn take(&mut self, batch: Batch, windows: &mut OpenWindows) {
        let Batch { events, mut pending } = batch;
        let mut last_ns = 0;
        for event in events {
            last_ns = event.time_ns();
            match event {
                Event::Process(event) => self.take_process_event(&event),
                Event::Exec(event) => {
                    self.processes.exec(&event).into_iter().for_each(|key| self.unwinder.executed(key));
                }
                Event::Mmap(event) => {
                    let mapped = self.processes.mmap(event);
                    mapped.into_iter().for_each(|(key, replaces)| self.unwinder.mapped(key, replaces, last_ns));
                }
                Event::Lost { whose: Lost::Any, .. } => {
                    self.processes.events_lost(last_ns);
                    self.unwinder.forget_untold();
                }
                // Children have nothing from their parents in the kernel program then.
                Event::Lost { whose: Lost::Unsampled, .. } => self.processes.unsampled_lost(last_ns),
                Event::Sample(sample) => self.take_sample(sample, pending.split(1), windows),
            }
        }
        self.unwinder.tell(last_ns, &mut self.processes);
        if self.processes.forget(last_ns) {
            self.unwinder.forget_untold();
            self.services.keep(|key| self.processes.contains(key));
        }
    }

    fn take_process_event(&mut self, event: &ProcessEvent) {
        let child = ProcessKey { tgid: event.tgid, start_ns: event.start_ns };
        if self.processes.process_event(event) {
            self.unwinder.ended(child);
        }
        if event.kind == FORK {
            let parent = ProcessKey { tgid: event.parent_tgid, start_ns: event.parent_start_ns };
            self.unwinder.forked(child, parent, event.branches);
        }
    }

    fn take_sample(&mut self, sample: Sample, one: Pending, windows: &mut OpenWindows) {
        if lose::one("process") {
            return;
        }
        let Some(stack) = &sample.stack else { return self.add(&sample, one, windows) };
        let stamps = stack.head.stamps;
        let key = key(&sample);
        // Its mappings are needed.
        self.processes.identity(key, None, sample.header.time_ns, sample.header.cgroup_id);
        self.unwinder.copied(key, stamps);
        let waiting = Waiting { sample, one, since: Instant::now() };
        if let Some(waiting) = self.finish(waiting, windows) {
            self.waiting.push(waiting);
        }
    }

    /// Walks the rest of a copied stack; gives it back when it has to wait.
    fn finish(&mut self, mut waiting: Waiting, windows: &mut OpenWindows) -> Option<Waiting> {
        let key = key(&waiting.sample);
        let sample = &mut waiting.sample;
        let mut outcome = "finished";
        if !self.unwinder.finish(sample, key, &mut self.processes) {
            if self.waiting.len() < MAX_WAITING && waiting.since.elapsed() < MAX_WAIT {
                return Some(waiting);
            }
            outcome = "gave_up";
            self.unwinder.give_up(sample, key, &mut self.processes);
        }
        self.metrics.add(Metric::StacksCopied, outcome, 1);
        self.add(&waiting.sample, waiting.one, windows);
        None
    }

    fn take_waiting(&mut self, windows: &mut OpenWindows) {
        // Without a new table, another try would come to the same end.
        let any = self.unwinder.take_built();
        for waiting in std::mem::take(&mut self.waiting) {
            let due = any || waiting.since.elapsed() >= MAX_WAIT;
            let left = if due { self.finish(waiting, windows) } else { Some(waiting) };
            self.waiting.extend(left);
        }
    }

    fn add(&mut self, sample: &Sample, one: Pending, windows: &mut OpenWindows) {
        let header = &sample.header;
        let key = key(sample);
        let kernel_thread = (header.flags & KERNEL_THREAD != 0).then_some(sample);
        let identity = self.processes.identity(key, kernel_thread, header.time_ns, header.cgroup_id);
        self.count_stop(header.stop);
        self.pods.expect(&identity);
        self.services.tell(key, &identity);
        let Some(open) = windows.of(header, Instant::now(), unix_ns) else { return };
        let frames = self.frames(sample, key, open);
        open.window.add(sample, &identity, frames, one);
    }

    fn count_stop(&self, stop: u32) {
        match UnwindStop::from_code(stop) {
            Some(UnwindStop::Root | UnwindStop::NoUserStack) => {}
            Some(reason) => self.metrics.add(Metric::StacksIncomplete, reason.label(), 1),
            None => self.metrics.add(Metric::StacksIncomplete, "unknown", 1),
        }
    }

    /// Frames of the kernel and of the process, leaf first.
    fn frames(&mut self, sample: &Sample, key: ProcessKey, open: &mut Open) -> Vec<u32> {
        let Open { window, known: known_frames, .. } = open;
        let mut frames = Vec::with_capacity(sample.frames.len());
        for (depth, &address) in sample.kernel_frames().iter().enumerate() {
            // As in `instructions`.
            let address = address - u64::from(depth > 0);
            frames.push(window.frame(&self.processes.kernel_address(address), FrameKind::Kernel));
        }
        let time_ns = sample.header.time_ns;
        let (mut executable, mut mappings) = (None, self.processes.mappings_number(key, time_ns));
        for address in instructions(sample.user_frames()) {
            let known = known_frames.get(mappings, address).or_else(|| {
                let found = self.new_frame(key, address, time_ns, window, known_frames);
                // The look may have shown other mappings.
                mappings = self.processes.mappings_number(key, time_ns);
                found
            });
            let Some(known) = known else {
                // Beyond an address that is no code, everything is guessed.
                self.metrics.add(Metric::StacksIncomplete, "unmapped", 1);
                frames.push(window.frame(&self.processes.unmapped(), FrameKind::Native));
                break;
            };
            if executable.replace(known.executable) != Some(known.executable) {
                self.unwinder.used(known.executable);
            }
            frames.push(known.frame);
        }
        if frames.is_empty() {
            let in_kernel = sample.header.flags & IN_KERNEL != 0;
            let kind = if in_kernel { FrameKind::Kernel } else { FrameKind::Native };
            frames.push(window.frame(&self.processes.unmapped(), kind));
        }
        frames
    }

    /// The frame of an address that is not known yet; none where nothing executable is mapped.
    fn new_frame(
        &mut self,
        key: ProcessKey,
        address: u64,
        time_ns: u64,
        to: &mut Window,
        all: &mut KnownFrames,
    ) -> Option<KnownFrame> {
        let code = self.processes.user_address(key, address, time_ns)?;
        let known = KnownFrame { frame: to.frame(&code, FrameKind::Native), executable: code.executable.id };
        // What is made at run time may be something else at the next look.
        if matches!(code.executable.kind, ExecutableKind::Elf { .. }) {
            all.insert(self.processes.mappings_number(key, time_ns), address, known);
        }
        Some(known)
    }
}

/// The instruction that each frame of a process is at. All but the leaf and what a signal interrupted are return
/// addresses: the call is at the instruction before. Nobody called what a signal handler returns to, the frame before an
/// interrupted one: its return address is its first instruction, and before it lies another function.
fn instructions(frames: &[u64]) -> impl Iterator<Item = u64> {
    let is_interrupted = |index: usize| frames.get(index).is_some_and(|address| address & INTERRUPTED != 0);
    frames.iter().enumerate().map(move |(index, address)| {
        let is_called = index > 0 && !is_interrupted(index) && !is_interrupted(index + 1);
        (address & !INTERRUPTED).wrapping_sub(u64::from(is_called))
    })
}

fn key(sample: &Sample) -> ProcessKey {
    ProcessKey { tgid: sample.header.tgid, start_ns: sample.header.start_ns }
}

/// Lets a window that has ended say what it really holds.
fn close(window: &mut Window) {
    if let Some(count) = window.counts.values_mut().next()
        && lose::one("aggregate")
    {
        *count -= 1;
    }
    let count = window.sample_count();
    if let Some(pending) = &mut window.pending {
        pending.recount(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frames: &[u64]) -> Vec<u64> {
        instructions(frames).collect()
    }

    #[test]
    fn a_call_is_before_its_return_address() {
        assert_eq!(at(&[0x100, 0x200, 0x300]), [0x100, 0x1ff, 0x2ff]);
        assert_eq!(at(&[0, 0]), [0, u64::MAX]);
    }

    #[test]
    fn a_signal_handler_returns_to_the_first_instruction_of_a_function() {
        let interrupted = 0x400 | INTERRUPTED;
        assert_eq!(at(&[0x100, 0x200, 0x300, interrupted, 0x500]), [0x100, 0x1ff, 0x300, 0x400, 0x4ff]);
        assert_eq!(at(&[0x300, interrupted, interrupted]), [0x300, 0x400, 0x400]);
        assert_eq!(at(&[interrupted]), [0x400]);
    }
}
