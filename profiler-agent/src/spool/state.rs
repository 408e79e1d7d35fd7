//! The state file: slots that are written in turn, so that a torn write costs only what it wrote.

use super::scan::{read_full, write_full};
use super::window::{long, word};
use super::{Counts, Disk, PartId, SpoolError, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// Name of the file.
pub(super) const STATE: &str = "state";
/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = 16 << 10;
/// One holds the state saved last, one the state synced last, and one is free.
pub(super) const SLOTS: usize = 3;
/// Bytes of a payload at most.
pub(super) const MAX_PAYLOAD_BYTES: usize = SLOT_BYTES - HEADER_BYTES;

const HEADER_BYTES: usize = 28;
const MAGIC: [u8; 8] = *b"PRFSTATE";
const VERSION: u32 = 1;

/// Where the next state goes.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// That of the state saved last.
    sequence: u64,
    /// Slot of the state saved last.
    saved: Option<usize>,
    /// Slot of the state synced last.
    synced: Option<usize>,
}

impl Slots {
    /// Reads the state that counts, if there is one.
    pub(super) fn load(disk: &mut dyn Disk) -> Result<(Self, Option<State>), SpoolError> {
        let mut bytes = vec![0; SLOTS * SLOT_BYTES];
        match read_full(disk, STATE, 0, &mut bytes) {
            Ok(read) => bytes.truncate(read),
            Err(error) if error.kind() == io::ErrorKind::NotFound => bytes.clear(),
            Err(error) => return Err(SpoolError::io("read", STATE)(error)),
        }
        let mut slots = Self::default();
        let mut newest = None;
        for (index, slot) in bytes.chunks(SLOT_BYTES).enumerate() {
            let Some((sequence, state)) = decode(slot)? else { continue };
            if newest.is_none() || sequence > slots.sequence {
                slots = Self { sequence, saved: Some(index), synced: None };
                newest = Some(state);
            }
        }
        Ok((slots, newest))
    }

    /// Gives the file its full size, so that a full disk does not keep states from being saved, and syncs what it holds.
    pub(super) fn prepare(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        if let Err(error) = disk.create(STATE)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        let full = (SLOTS * SLOT_BYTES) as u64;
        let size = disk.size(STATE)?.min(full);
        write_full(disk, STATE, size, &vec![0; (full - size) as usize])?;
        self.sync(disk)?;
        disk.sync_folder()
    }

    /// Writes a state into the free slot.
    pub(super) fn save(&mut self, disk: &mut dyn Disk, payload: &[u8]) -> io::Result<()> {
        let taken = [self.saved, self.synced];
        let slot = (0..SLOTS).find(|slot| !taken.contains(&Some(*slot))).unwrap_or_default();
        let sequence = self.sequence.saturating_add(1);
        let (offset, bytes) = ((slot * SLOT_BYTES) as u64, encode(sequence, payload));
        match write_full(disk, STATE, offset, &bytes) {
            // Somebody removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.prepare(disk)?;
                write_full(disk, STATE, offset, &bytes)?;
            }
            result => result?,
        }
        (self.sequence, self.saved) = (sequence, Some(slot));
        Ok(())
    }

    /// The state saved last is on the disk.
    pub(super) fn sync(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        disk.sync(STATE)?;
        self.synced = self.saved;
        Ok(())
    }
}

fn encode(sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    // At most MAX_PAYLOAD_BYTES.
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(payload);
    let checksum = crc32fast::hash(&bytes[12..]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Sequence and state of a slot; none where it is empty or damaged.
fn decode(slot: &[u8]) -> Result<Option<(u64, State)>, SpoolError> {
    if slot.len() < HEADER_BYTES || slot[..8] != MAGIC {
        return Ok(None);
    }
    let (checksum, version, sequence, length) = (word(slot, 8), word(slot, 12), long(slot, 16), word(slot, 24));
    let Some(bytes) = slot.get(12..(HEADER_BYTES + length as usize)) else { return Ok(None) };
    if crc32fast::hash(bytes) != checksum {
        return Ok(None);
    }
    if version > VERSION {
        return Err(SpoolError::Newer { name: STATE.to_owned(), version, known: VERSION });
    }
    let payload = serde_json::from_slice::<Payload>(&slot[HEADER_BYTES..HEADER_BYTES + length as usize]);
    Ok(payload.ok().map(|payload| (sequence, payload.into())))
}

/// What a slot holds, as JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Payload {
    counts: Counts,
    boot_id: String,
    next_window: u64,
    /// Indices by window.
    ended: BTreeMap<u64, Vec<u32>>,
}

impl From<Payload> for State {
    fn from(payload: Payload) -> Self {
        let Payload { counts, boot_id, next_window, ended } = payload;
        let ids = |(window, indices): (u64, Vec<u32>)| indices.into_iter().map(move |index| PartId { window, index });
        let mut ended: Vec<PartId> = ended.into_iter().flat_map(ids).collect();
        ended.sort_unstable();
        ended.dedup();
        Self { counts, boot_id, next_window, ended }
    }
}

/// The payload that stands for a state.
pub(super) fn payload(state: State) -> Result<Vec<u8>, SpoolError> {
    let State { mut counts, boot_id, next_window, ended } = state;
    // JSON knows no other.
    counts.gap_seconds = Some(counts.gap_seconds).filter(|seconds| seconds.is_finite()).unwrap_or_default();
    let mut indices = BTreeMap::<u64, Vec<u32>>::new();
    for id in ended {
        indices.entry(id.window).or_default().push(id.index);
    }
    let payload = Payload { counts, boot_id, next_window, ended: indices };
    serde_json::to_vec(&payload).map_err(|error| SpoolError::io("encode", STATE)(error.into()))
}
