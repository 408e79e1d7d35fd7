//! The spool of one folder.

use super::file::{self, Window};
use super::scan::read_full;
use super::state::Slots;
use super::window::{self, HEADER_BYTES, RECORD_BYTES};
use super::{
    AppendError, Appended, Disk, Folder, MAX_PARTS, MAX_WINDOW_BYTES, NewPart, PartId, Recovered, SpoolError,
    StoredPart, recover,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The spool of one folder.
pub struct Store {
    pub(super) disk: Box<dyn Disk>,
    max_bytes: u64,
    /// By number: oldest first.
    pub(super) windows: BTreeMap<u64, Window>,
    pub(super) next_window: u64,
    /// Parts that ended in windows that could not be read.
    pub(super) ended_elsewhere: Vec<PartId>,
    in_flight: BTreeSet<PartId>,
    pub(super) state: Slots,
    pub(super) boot_id: String,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { max_bytes, windows, next_window, .. } = self;
        write!(formatter, "Store({} windows before {next_window}, at most {max_bytes} bytes)", windows.len())
    }
}

impl Store {
    /// Opens a folder, made where there is none (mode 0700), and reads all that it holds: takes as long as reading so many
    /// bytes does. `max_bytes` bounds the window files; a folder that holds more is brought within it by the next append.
    /// The folder stays locked until the store goes.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<(Self, Recovered), SpoolError> {
        Self::open_with(Box::new(Folder::open(folder)?), max_bytes)
    }

    /// The same on any disk.
    pub fn open_with(disk: Box<dyn Disk>, max_bytes: u64) -> Result<(Self, Recovered), SpoolError> {
        let mut store = Self {
            disk,
            max_bytes,
            windows: BTreeMap::new(),
            next_window: 1,
            ended_elsewhere: Vec::new(),
            in_flight: BTreeSet::new(),
            state: Slots::default(),
            boot_id: boot_id(),
        };
        let recovered = recover::recover(&mut store)?;
        Ok((store, recovered))
    }

    /// Stores the parts of one window: durable when it returns. The oldest windows without a part in flight go as far as
    /// the bound asks for it, or a full disk.
    pub fn append(&mut self, parts: &[NewPart]) -> Result<Appended, AppendError> {
        let mut evicted = Vec::new();
        match self.add(parts, &mut evicted) {
            Ok(stored) => Ok(Appended { stored, evicted }),
            Err(error) => Err(AppendError { error, evicted }),
        }
    }

    fn add(&mut self, parts: &[NewPart], evicted: &mut Vec<StoredPart>) -> Result<Vec<StoredPart>, SpoolError> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        self.check_size(parts)?;
        loop {
            // A number is not tried twice: a failed try may have left its file.
            let number = self.next_window;
            self.next_window = number.saturating_add(1);
            let window = Window::new(number, parts)?;
            let stored = window.parts().collect();
            let Err(error) = self.try_add(number, window, parts, evicted) else { return Ok(stored) };
            if !(error.is_full() && self.evict_oldest(evicted)?) {
                return Err(error);
            }
        }
    }

    /// Refuses what would not fit if all went that may go.
    fn check_size(&self, parts: &[NewPart]) -> Result<(), SpoolError> {
        let bytes = parts.iter().map(|part| (RECORD_BYTES + part.body.len()) as u64).sum::<u64>() + HEADER_BYTES as u64;
        let kept = self.windows.iter().filter(|(number, _)| self.is_in_flight(**number));
        let kept: u64 = kept.map(|(_, window)| window.bytes).sum();
        let max_bytes = MAX_WINDOW_BYTES.min(self.max_bytes.saturating_sub(kept));
        if bytes > max_bytes || parts.len() > MAX_PARTS {
            return Err(SpoolError::TooLarge { bytes, max_bytes });
        }
        Ok(())
    }

    fn try_add(
        &mut self,
        number: u64,
        window: Window,
        parts: &[NewPart],
        evicted: &mut Vec<StoredPart>,
    ) -> Result<(), SpoolError> {
        // Nothing goes for a window that the disk does not take.
        let written = window.write(&mut *self.disk, number, parts);
        if let Err(error) = written.and_then(|()| self.make_room(window.bytes, evicted)) {
            self.discard_unfinished(number);
            return Err(error);
        }
        let published = file::publish(&mut *self.disk, number);
        match &published {
            Ok(()) => drop(self.windows.insert(number, window)),
            Err(_) => self.discard(number, window),
        }
        published
    }

    fn make_room(&mut self, bytes: u64, evicted: &mut Vec<StoredPart>) -> Result<(), SpoolError> {
        while self.bytes() + bytes > self.max_bytes {
            if !self.evict_oldest(evicted)? {
                return Err(SpoolError::TooLarge { bytes, max_bytes: self.max_bytes });
            }
        }
        Ok(())
    }

    /// Where this fails, the next start removes it.
    fn discard_unfinished(&mut self, number: u64) {
        let _ = self.disk.remove(&window::unfinished_name(number));
    }

    /// Removes what may have got its name, or not.
    fn discard(&mut self, number: u64, mut window: Window) {
        self.discard_unfinished(number);
        let removed = file::remove(&mut *self.disk, number).and_then(|()| file::sync_folder(&mut *self.disk));
        if removed.is_err() {
            // It goes like any window that is over.
            window.ended = window.records.keys().copied().collect();
            self.windows.insert(number, window);
        }
    }

    /// Removes the oldest window that may go; those that are over go first. False where there is none.
    fn evict_oldest(&mut self, evicted: &mut Vec<StoredPart>) -> Result<bool, SpoolError> {
        let may_go = self.windows.iter().filter(|(number, _)| !self.is_in_flight(**number));
        let oldest = may_go.min_by_key(|(number, window)| (!window.is_over(), **number));
        let Some(number) = oldest.map(|(number, _)| *number) else { return Ok(false) };
        file::remove(&mut *self.disk, number)?;
        evicted.extend(self.windows.remove(&number).iter().flat_map(Window::parts));
        Ok(true)
    }

    fn is_in_flight(&self, number: u64) -> bool {
        let ids = PartId { window: number, index: 0 }..=PartId { window: number, index: u32::MAX };
        self.in_flight.range(ids).next().is_some()
    }

    /// The body of a part, verified. One that is damaged stays until it is [ended](Self::end).
    pub fn read(&mut self, id: PartId) -> Result<Bytes, SpoolError> {
        let window = self.windows.get(&id.window).filter(|window| !window.ended.contains(&id.index));
        let place = window.and_then(|window| window.records.get(&id.index));
        let &(offset, record) = place.ok_or(SpoolError::Missing { id })?;
        let name = window::name(id.window);
        let mut bytes = vec![0; record.part.bytes as usize];
        let offset = offset + RECORD_BYTES as u64;
        let read = read_full(&mut *self.disk, &name, offset, &mut bytes).map_err(SpoolError::io("read", &name))?;
        if read < bytes.len() || crc32fast::hash(&bytes) != record.checksum {
            return Err(SpoolError::Corrupt { id });
        }
        Ok(bytes.into())
    }

    /// These parts are on their way to an endpoint, and no others: their windows are not evicted.
    pub fn set_in_flight(&mut self, ids: &[PartId]) {
        self.in_flight = ids.iter().copied().collect();
    }

    /// Bytes of the window files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.windows.values().map(|window| window.bytes).sum()
    }
}

/// The kernel's identity of this boot; empty where it cannot be read.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}
