//! A disk in memory that can lose power.

use crate::spool::Disk;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A folder in memory; clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    /// As programs see it.
    now: Names,
    /// As a power cut leaves it at worst.
    synced: Names,
    /// What has happened to names since they were synced.
    changes: Vec<Names>,
    files: Vec<File>,
}

/// Index of a file by its name.
type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors written since they were synced, by offset.
    written: Vec<usize>,
}

impl MemoryDisk {
    /// A folder with one file.
    #[must_use]
    pub fn with(name: &str, bytes: &[u8]) -> Self {
        let disk = Self::default();
        disk.put(name, bytes);
        disk
    }

    /// Puts a file there, synced.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut contents = self.contents();
        let index = contents.files.len();
        contents.files.push(File { now: bytes.to_vec(), synced: bytes.to_vec(), written: Vec::new() });
        contents.now.insert(name.to_owned(), index);
        contents.synced.insert(name.to_owned(), index);
    }

    /// Bytes of a file; none where there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let contents = self.contents();
        contents.now.get(name).map(|index| contents.files[*index].now.clone())
    }

    /// Loses power. What was not synced is there or not: `choose(n)` is below `n`.
    pub fn cut_power(&self, mut choose: impl FnMut(usize) -> usize) {
        let mut contents = self.contents();
        let Contents { now, synced, changes, files } = &mut *contents;
        // File systems keep the order of what happens to names.
        let kept = choose(changes.len() + 1);
        if let Some(last) = changes.drain(..).take(kept).next_back() {
            synced.clone_from(&last);
        }
        now.clone_from(synced);
        files.iter_mut().for_each(|file| file.cut_power(&mut choose));
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn cut_power(&mut self, choose: &mut impl FnMut(usize) -> usize) {
        if !self.written.is_empty() {
            // The size may have reached the disk before the data, which is then zero.
            self.synced.resize([self.synced.len(), self.now.len()][choose(2)], 0);
        }
        for sector in self.written.drain(..) {
            let end = (sector + SECTOR_BYTES).min(self.now.len()).min(self.synced.len());
            if choose(2) == 1 && sector < end {
                self.synced[sector..end].copy_from_slice(&self.now[sector..end]);
            }
        }
        self.now.clone_from(&self.synced);
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.now.resize(self.now.len().max(end), 0);
        self.now[offset..end].copy_from_slice(bytes);
        self.written.extend((offset / SECTOR_BYTES * SECTOR_BYTES..end).step_by(SECTOR_BYTES));
    }
}

impl Contents {
    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let index = *self.now.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[index])
    }

    fn changed(&mut self) {
        self.changes.push(self.now.clone());
    }
}

impl Disk for MemoryDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.contents().now.keys().cloned().collect())
    }

    fn size(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.contents().file(name)?.now.len() as u64)
    }

    fn read(&mut self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut contents = self.contents();
        let bytes = contents.file(name)?.now.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut contents = self.contents();
        if contents.now.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let index = contents.files.len();
        contents.files.push(File::default());
        contents.now.insert(name.to_owned(), index);
        contents.changed();
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.contents().file(name)?.write(offset as usize, bytes);
        Ok(bytes.len())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut contents = self.contents();
        let file = contents.file(name)?;
        file.synced.clone_from(&file.now);
        file.written.clear();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut contents = self.contents();
        let index = contents.now.remove(from).ok_or(io::ErrorKind::NotFound)?;
        contents.now.insert(to.to_owned(), index);
        contents.changed();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut contents = self.contents();
        contents.now.remove(name).ok_or(io::ErrorKind::NotFound)?;
        contents.changed();
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut contents = self.contents();
        contents.synced = contents.now.clone();
        contents.changes.clear();
        Ok(())
    }
}
