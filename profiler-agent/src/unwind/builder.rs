//! The threads that build tables.

use super::cfi::{self, NoTable};
use super::table::UnwindTable;
use crate::confine;
use crate::golang::{self, Frames, Overlay, Pclntab};
use crate::process::{Executable, ExecutableKind};
use profiler_common::unwind::place::CHUNK_BYTES;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Files that wait for their table.
const QUEUE: usize = 1024;

/// Chunks that are ready beside those for a table: for the mappings of processes.
const SPARE_CHUNKS: usize = 2;

/// Sees to it that so many chunks are ready; may wait.
pub(super) type Prepare = Arc<dyn Fn(usize) + Send + Sync>;

/// What became of a file.
#[derive(Debug)]
pub(super) struct Built {
    /// The file.
    pub(super) executable: u32,
    /// Its table and what it holds in 32 bytes, or why there is none.
    pub(super) table: Result<(Arc<UnwindTable>, [u8; 32]), &'static str>,
}

/// Bytes of a file from which it is large: building its table may take a second.
const LARGE_BYTES: u64 = 16 << 20;

/// Two threads, as the pipeline sees them: small files do not wait for large ones. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Builder {
    small: SyncSender<Arc<Executable>>,
    large: SyncSender<Arc<Executable>>,
    results: Receiver<Built>,
}

impl Builder {
    /// Starts the threads.
    pub(super) fn start(prepare: &Prepare) -> std::io::Result<Self> {
        let (done, results) = sync_channel(QUEUE);
        let small = start("table-builder", done.clone(), Arc::clone(prepare))?;
        let large = start("table-builder-l", done, Arc::clone(prepare))?;
        Ok(Self { small, large, results })
    }

    /// Asks for the table of a file; false when too many wait already.
    pub(super) fn ask(&self, executable: &Arc<Executable>) -> bool {
        let jobs = if bytes(executable) < LARGE_BYTES { &self.small } else { &self.large };
        !matches!(jobs.try_send(Arc::clone(executable)), Err(TrySendError::Full(_)))
    }

    /// What has been built since the last call.
    pub(super) fn results(&self) -> impl Iterator<Item = Built> + '_ {
        self.results.try_iter()
    }
}

fn start(name: &str, done: SyncSender<Built>, prepare: Prepare) -> std::io::Result<SyncSender<Arc<Executable>>> {
    let (jobs, queue) = sync_channel::<Arc<Executable>>(QUEUE);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        confine::reader_thread();
        while let Ok(executable) = queue.recv() {
            let built = Built { executable: executable.id, table: build(&executable) };
            let bytes = built.table.as_ref().map_or(0, |(table, _)| table.bytes());
            prepare(bytes / CHUNK_BYTES as usize + SPARE_CHUNKS);
            if done.send(built).is_err() {
                return;
            }
        }
    })?;
    Ok(jobs)
}

fn bytes(executable: &Executable) -> u64 {
    let ExecutableKind::Elf { file, .. } = &executable.kind else { return 0 };
    file.metadata().map_or(0, |metadata| metadata.len())
}

fn build(executable: &Executable) -> Result<(Arc<UnwindTable>, [u8; 32]), &'static str> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else { return Err("no_file") };
    let table = table(file)?;
    let hash = table.hash_into(Sha256::new()).finalize().into();
    Ok((Arc::new(table), hash))
}

/// What Go's own table says of frames; none for other programs, and where it is of no use.
pub(super) fn go_frames(file: &File) -> Option<Frames> {
    let frames = Pclntab::open(file).and_then(|table| table.map(|table| Frames::load(&table, file)).transpose());
    frames.ok().flatten()
}

/// Rows from call frame information; of Go programs from Go's own table, with the C parts' beside them.
pub(super) fn table(file: &File) -> Result<UnwindTable, &'static str> {
    let Some(frames) = go_frames(file) else { return cfi::build(file).map_err(|reason| reason.label()) };
    let both = cfi::build_over(file, |encoder, feed| {
        let mut overlay = Overlay::new(encoder, &frames);
        feed(&mut |address, rule| overlay.push(address, rule))?;
        overlay.finish();
        Ok(())
    });
    match both {
        Err(NoTable::NoCfi) => golang::table(file).map_err(|reason| reason.label())?.ok_or("no_cfi"),
        both => both.map_err(|reason| reason.label()),
    }
}
