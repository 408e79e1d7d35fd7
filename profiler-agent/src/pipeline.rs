//! The thread between the ring reader and the symbolizer: events become samples of a window.
//!
//! It alone knows the processes. A window that cannot be handed on because the symbolizer is still busy grows on.

use crate::aggregate::Window;
use crate::bpf::reader::Batch;
use crate::bpf::{Event, Sample};
use crate::host::unix_ns;
use crate::process::{CodeAddress, ProcessKey, ProcessTable};
use crate::profile::FrameKind;
use crate::telemetry::ledger::Pending;
use crate::telemetry::lose;
use crate::telemetry::metrics::{Metric, Metrics};
use profiler_common::outcome::UnwindStop;
use profiler_common::record::{IN_KERNEL, KERNEL_THREAD};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Turns batches into windows.
pub struct Pipeline {
    /// All processes.
    pub processes: ProcessTable,
    /// Where windows go.
    pub windows: SyncSender<Window>,
    /// Length of a window; none for one that ends with the batches.
    pub interval: Option<Duration>,
    /// CPU time in nanoseconds that one sample stands for.
    pub period_ns: u64,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Runs until the reader is done; the last window then goes out whatever it holds.
    pub fn run(mut self, batches: &Receiver<Batch>) {
        let mut window = Window::new(unix_ns(), self.period_ns);
        let mut started = Instant::now();
        loop {
            let due = self.interval.map(|interval| (started + interval).saturating_duration_since(Instant::now()));
            match batches.recv_timeout(due.unwrap_or(Duration::from_secs(3600))) {
                Ok(batch) => self.take(batch, &mut window),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.interval.is_some_and(|interval| started.elapsed() >= interval) {
                close(&mut window, started);
                match self.windows.try_send(std::mem::replace(&mut window, Window::new(unix_ns(), self.period_ns))) {
                    Ok(()) => started = Instant::now(),
                    Err(TrySendError::Full(kept) | TrySendError::Disconnected(kept)) => window = kept,
                }
            }
        }
        close(&mut window, started);
        if let Err(lost) = self.windows.send(window) {
            drop(lost);
            tracing::error!("the symbolizer is gone, the last window is lost");
        }
    }

    fn take(&mut self, batch: Batch, window: &mut Window) {
        let Batch { events, mut pending } = batch;
        let mut last_ns = 0;
        for event in events {
            last_ns = event.time_ns();
            match event {
                Event::Process(event) => self.processes.process_event(&event),
                Event::Exec(event) => self.processes.exec(&event),
                Event::Mmap(event) => self.processes.mmap(event),
                Event::Sample(sample) => self.add(&sample, pending.split(1), window),
            }
        }
        self.processes.forget(last_ns);
    }

    fn add(&mut self, sample: &Sample, one: Pending, window: &mut Window) {
        if lose::one("process") {
            return;
        }
        let header = &sample.header;
        let key = ProcessKey { tgid: header.tgid, start_ns: header.start_ns };
        let kernel_thread = (header.flags & KERNEL_THREAD != 0).then_some(sample);
        let identity = self.processes.identity(key, kernel_thread, header.time_ns);
        self.count_stop(header.stop);
        let frames = self.frames(sample, key);
        window.add(sample, &identity, &frames, one);
    }

    fn count_stop(&self, stop: u32) {
        match UnwindStop::from_code(stop) {
            Some(UnwindStop::Root | UnwindStop::NoUserStack) => {}
            Some(reason) => self.metrics.add(Metric::StacksIncomplete, reason.label(), 1),
            None => self.metrics.add(Metric::StacksIncomplete, "unknown", 1),
        }
    }

    /// Frames of the kernel and of the process, leaf first. All but the leaf are return addresses: the call is at the
    /// instruction before.
    fn frames(&mut self, sample: &Sample, key: ProcessKey) -> Vec<(CodeAddress, FrameKind)> {
        let mut frames = Vec::with_capacity(sample.frames.len());
        for (depth, &address) in sample.kernel_frames().iter().enumerate() {
            let address = address - u64::from(depth > 0);
            frames.push((self.processes.kernel_address(address), FrameKind::Kernel));
        }
        for (depth, &address) in sample.user_frames().iter().enumerate() {
            let address = address.wrapping_sub(u64::from(depth > 0));
            let Some(code) = self.processes.user_address(key, address, sample.header.time_ns) else {
                // Beyond an address that is no code, everything is guessed.
                self.metrics.add(Metric::StacksIncomplete, "unmapped", 1);
                frames.push((self.processes.unmapped(), FrameKind::Native));
                break;
            };
            frames.push((code, FrameKind::Native));
        }
        if frames.is_empty() {
            let in_kernel = sample.header.flags & IN_KERNEL != 0;
            frames.push((self.processes.unmapped(), if in_kernel { FrameKind::Kernel } else { FrameKind::Native }));
        }
        frames
    }
}

/// Ends a window now, and lets it say what it really holds.
fn close(window: &mut Window, started: Instant) {
    window.duration_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
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
