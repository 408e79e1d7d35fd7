//! A spool that is written as fast as it can be until something ends that, and what it holds afterwards: what the test of
//! power cuts runs in its machine.
//!
//! Output, one line each and in the order of events: `appended W` and `ended W` are said when they are durable, `ending W`
//! before.

use super::{Counts, NewPart, PartId, SpoolError, Store};
use std::io::{self, Write};
use std::path::Path;

/// More than the windows that are kept take.
const MAX_BYTES: u64 = 32 << 20;
/// Windows that are kept before they end.
const KEPT: u64 = 20;
/// Bodies are smaller.
const MAX_BODY_BYTES: u64 = 100_000;

/// Why a trial ended.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The spool's own reason.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Nobody reads what it says.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Appends and ends windows until something fails.
pub fn write(folder: &Path, mut output: impl Write) -> Result<(), TrialError> {
    let (mut store, _) = Store::open(folder, MAX_BYTES)?;
    for number in 1.. {
        let parts: Vec<NewPart> = (0..=(number % 3) as u32).map(|index| part(number, index)).collect();
        store.append(&parts).map_err(|error| error.error)?;
        writeln!(output, "appended {number}")?;
        let mut counts = Counts { taken: number, ..Counts::default() };
        if let Some(over) = number.checked_sub(KEPT).filter(|over| *over > 0) {
            writeln!(output, "ending {over}")?;
            (0..=(over % 3) as u32).for_each(|index| store.end(PartId { window: over, index }));
            counts.exported = over;
        }
        store.save(&counts, number % 4 == 0)?;
        if counts.exported > 0 {
            writeln!(output, "ended {}", counts.exported)?;
        }
    }
    Ok(())
}

/// Says what a folder holds: `found W` of each window that is whole, `damaged W` of one that is not, and `state T E D`: the
/// newest window and the last one ended by the state, and records damaged.
pub fn read(folder: &Path, mut output: impl Write) -> Result<(), TrialError> {
    let (mut store, recovered) = Store::open(folder, MAX_BYTES)?;
    let mut windows: Vec<u64> = recovered.parts.iter().map(|part| part.id.window).collect();
    windows.dedup();
    for window in windows {
        let ids = (0..=(window % 3) as u32).map(|index| PartId { window, index });
        let whole = ids.into_iter().all(|id| store.read(id).is_ok_and(|body| body == part(window, id.index).body));
        writeln!(output, "{} {window}", if whole { "found" } else { "damaged" })?;
    }
    let counts = recovered.state.map(|state| state.counts).unwrap_or_default();
    writeln!(output, "state {} {} {}", counts.taken, counts.exported, recovered.corrupt_records)?;
    Ok(())
}

/// The part of this place: its bytes follow from it.
fn part(window: u64, index: u32) -> NewPart {
    let seed = window.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(index);
    let bytes = (seed >> 7) % MAX_BODY_BYTES;
    let body = (0..bytes).map(|at| (seed.rotate_left(at as u32) ^ at) as u8).collect::<Vec<u8>>().into();
    NewPart { body, samples: bytes, start_unix_ns: window, end_unix_ns: window + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many lines.
    struct Lines(usize, Vec<u8>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 =
                self.0.checked_sub(bytes.iter().filter(|byte| **byte == b'\n').count()).ok_or(io::ErrorKind::Other)?;
            self.1.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_trial_that_stops_leaves_what_it_said() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut lines = Lines(24, Vec::new());
        assert!(matches!(write(folder.path(), &mut lines), Err(TrialError::Output(_))));
        let said = String::from_utf8(lines.1).unwrap();
        assert!(said.contains("\nappended 21\nending 1\nended 1\nappended 22\n"), "{said}");
        let mut found = Vec::new();
        read(folder.path(), &mut found).unwrap();
        let found = String::from_utf8(found).unwrap();
        assert_eq!(found.lines().filter(|line| line.starts_with("found ")).count(), 21, "{found}");
        assert!(found.ends_with("found 22\nstate 21 1 0\n"), "{found}");
    }
}
