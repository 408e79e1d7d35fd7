//! Parts that ended, the state that says so, and window files that go for it.

use super::file::{self, Window};
use super::state::{MAX_PAYLOAD_BYTES, STATE, payload};
use super::{Counts, PartId, SpoolError, State, Store, window};

/// From so many bytes on, payloads are made smaller, so that they seldom reach [`MAX_PAYLOAD_BYTES`] at once.
const LARGE_PAYLOAD_BYTES: usize = MAX_PAYLOAD_BYTES / 4 * 3;

impl Store {
    /// This part reached its end, whichever: it is neither read nor evicted any more. The next [`Store::save`] makes that
    /// last; until then a restart brings the part back.
    pub fn end(&mut self, id: PartId) {
        let window = self.windows.get_mut(&id.window).filter(|window| window.records.contains_key(&id.index));
        window.map(|window| window.ended.insert(id.index));
    }

    /// Saves the state. It survives the agent's death when this returns and, with `sync`, that of the host. Window files of
    /// which all parts have ended go after that, which syncs, too. An error can also say that one of them could not go, or
    /// could not be made smaller: that is tried again with the next save.
    pub fn save(&mut self, counts: &Counts, sync: bool) -> Result<(), SpoolError> {
        let mut bytes = self.payload(counts)?;
        while bytes.len() > MAX_PAYLOAD_BYTES {
            if !self.shrink_oldest()? {
                let (bytes, max_bytes) = (bytes.len() as u64, MAX_PAYLOAD_BYTES as u64);
                return Err(SpoolError::TooLarge { bytes, max_bytes });
            }
            bytes = self.payload(counts)?;
        }
        self.state.save(&mut *self.disk, &bytes).map_err(SpoolError::io("write", STATE))?;
        let large = bytes.len() > LARGE_PAYLOAD_BYTES;
        if sync || large || self.windows.values().any(Window::is_over) {
            self.state.sync(&mut *self.disk).map_err(SpoolError::io("sync", STATE))?;
        }
        self.remove_over()?;
        if large {
            self.shrink_oldest()?;
        }
        Ok(())
    }

    fn payload(&self, counts: &Counts) -> Result<Vec<u8>, SpoolError> {
        let ids = |(window, file): (&u64, &Window)| {
            let window = *window;
            file.ended.iter().map(|index| PartId { window, index: *index }).collect::<Vec<_>>()
        };
        let ended = self.windows.iter().flat_map(ids).chain(self.ended_elsewhere.iter().copied()).collect();
        let (counts, boot_id, next_window) = (counts.clone(), self.boot_id.clone(), self.next_window);
        payload(State { counts, boot_id, next_window, ended })
    }

    /// Removes the files of windows that are over; the state that says so is synced.
    pub(super) fn remove_over(&mut self) -> Result<(), SpoolError> {
        let over = self.windows.iter().filter(|(_, window)| window.is_over());
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        let tried: Vec<_> = over.into_iter().map(|number| (number, file::remove(&mut *self.disk, number))).collect();
        let removed = || tried.iter().filter(|(_, result)| result.is_ok()).map(|(number, _)| number);
        if removed().next().is_some() {
            // Until then a power cut would bring them back: what says that they are over stays.
            file::sync_folder(&mut *self.disk)?;
        }
        removed().for_each(|number| drop(self.windows.remove(number)));
        tried.into_iter().try_for_each(|(_, result)| result)
    }

    /// Writes the oldest window of which some parts ended anew without them, and they leave the state; false where there
    /// is none.
    fn shrink_oldest(&mut self) -> Result<bool, SpoolError> {
        let mut partly = self.windows.iter().filter(|(_, window)| !window.ended.is_empty() && !window.is_over());
        let Some(number) = partly.next().map(|(number, _)| *number) else { return Ok(false) };
        self.rewrite(number)?;
        Ok(true)
    }

    /// Writes a window anew with nothing but the parts that have not ended.
    pub(super) fn rewrite(&mut self, number: u64) -> Result<(), SpoolError> {
        let Some(before) = self.windows.get_mut(&number) else { return Ok(()) };
        let disk = &mut *self.disk;
        let mut window = before.shrunk();
        if let Err(error) = window.copy(disk, number, before).and_then(|()| file::rename(disk, number)) {
            // Where this fails, the next start removes it.
            let _ = disk.remove(&window::unfinished_name(number));
            return Err(error);
        }
        let synced = file::sync_folder(disk);
        if synced.is_err() {
            // A power cut would bring back what ended.
            window.ended.clone_from(&before.ended);
        }
        *before = window;
        synced
    }
}
