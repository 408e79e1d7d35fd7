//! Window files as they are written.

use super::scan::{read_full, write_full};
use super::window::{self, HEADER_BYTES, Header, RECORD_BYTES, Record, VERSION};
use super::{Disk, MAX_PART_BYTES, NewPart, PartId, SpoolError, StoredPart};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// A window's file.
#[derive(Debug)]
pub(super) struct Window {
    /// Its size.
    pub(super) bytes: u64,
    /// By index: where the record begins.
    pub(super) records: BTreeMap<u32, (u64, Record)>,
    /// Indices that ended.
    pub(super) ended: BTreeSet<u32>,
}

impl Window {
    /// The file that will hold these parts.
    pub(super) fn new(number: u64, parts: &[NewPart]) -> Result<Self, SpoolError> {
        let mut window = Self::empty();
        for (index, part) in (0..).zip(parts) {
            let (bytes, max_bytes) = (part.body.len() as u64, MAX_PART_BYTES as u64);
            let record = Record::new(PartId { window: number, index }, part);
            window.push(record.ok_or(SpoolError::TooLarge { bytes, max_bytes })?);
        }
        Ok(window)
    }

    fn empty() -> Self {
        Self { bytes: HEADER_BYTES as u64, records: BTreeMap::new(), ended: BTreeSet::new() }
    }

    fn push(&mut self, record: Record) {
        self.records.insert(record.part.id.index, (self.bytes, record));
        self.bytes += record.size();
    }

    /// The file without what ended.
    pub(super) fn shrunk(&self) -> Self {
        let mut window = Self::empty();
        self.live().for_each(|(_, record)| window.push(*record));
        window
    }

    /// All of it ended.
    pub(super) fn is_over(&self) -> bool {
        self.live().next().is_none()
    }

    /// What has not ended.
    pub(super) fn parts(&self) -> impl Iterator<Item = StoredPart> {
        self.live().map(|(_, record)| record.part)
    }

    fn live(&self) -> impl Iterator<Item = &(u64, Record)> {
        self.records.iter().filter(|(index, _)| !self.ended.contains(index)).map(|(_, place)| place)
    }

    /// Writes the file under its unfinished name, and syncs it.
    pub(super) fn write(&self, disk: &mut dyn Disk, number: u64, parts: &[NewPart]) -> Result<(), SpoolError> {
        let name = window::unfinished_name(number);
        self.start(disk, number, &name)?;
        for ((offset, record), part) in self.records.values().zip(parts) {
            let body = offset + RECORD_BYTES as u64;
            let written = write_full(disk, &name, *offset, &record.encode());
            written.and_then(|()| write_full(disk, &name, body, &part.body)).map_err(SpoolError::io("write", &name))?;
        }
        disk.sync(&name).map_err(SpoolError::io("sync", &name))
    }

    /// The same with the records of a file that has its name; what is damaged stays so.
    pub(super) fn copy(&self, disk: &mut dyn Disk, number: u64, from: &Self) -> Result<(), SpoolError> {
        let (source, name) = (window::name(number), window::unfinished_name(number));
        self.start(disk, number, &name)?;
        for ((to, record), (from, _)) in self.records.values().zip(from.live()) {
            let mut bytes = vec![0; record.size() as usize];
            read_full(disk, &source, *from, &mut bytes).map_err(SpoolError::io("read", &source))?;
            write_full(disk, &name, *to, &bytes).map_err(SpoolError::io("write", &name))?;
        }
        disk.sync(&name).map_err(SpoolError::io("sync", &name))
    }

    fn start(&self, disk: &mut dyn Disk, number: u64, name: &str) -> Result<(), SpoolError> {
        let created = match disk.create(name) {
            // Left behind by a try that failed, or put there by somebody.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(name).and_then(|()| disk.create(name))
            }
            created => created,
        };
        created.map_err(SpoolError::io("create", name))?;
        let header = Header { version: VERSION, window: number, records: self.records.len() as u32 };
        write_full(disk, name, 0, &header.encode()).map_err(SpoolError::io("write", name))
    }
}

/// A window that was written gets its name, for good.
pub(super) fn publish(disk: &mut dyn Disk, number: u64) -> Result<(), SpoolError> {
    rename(disk, number)?;
    sync_folder(disk)
}

/// A window that was written gets its name.
pub(super) fn rename(disk: &mut dyn Disk, number: u64) -> Result<(), SpoolError> {
    let unfinished = window::unfinished_name(number);
    disk.rename(&unfinished, &window::name(number)).map_err(SpoolError::io("rename", &unfinished))
}

/// Names given and taken are so on the disk.
pub(super) fn sync_folder(disk: &mut dyn Disk) -> Result<(), SpoolError> {
    disk.sync_folder().map_err(SpoolError::io("sync", "."))
}

/// Removes a window, if it is there.
pub(super) fn remove(disk: &mut dyn Disk, number: u64) -> Result<(), SpoolError> {
    let name = window::name(number);
    match disk.remove(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SpoolError::io("remove", &name)(error)),
        _ => Ok(()),
    }
}
