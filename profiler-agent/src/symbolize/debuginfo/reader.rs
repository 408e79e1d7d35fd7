//! Sections read in pages, and gimli's reader over them.
//!
//! Files are read, never mapped: one that is cut short while it is mapped kills the reader. What is at hand of a file
//! is a bounded number of pages, however large its sections are.

use super::budget::Budget;
use gimli::{Error, ReaderOffsetId, Result, RunTimeEndian};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

/// Bytes read at a time.
const PAGE_BYTES: u64 = 8192;
/// Pages kept of one file, in each of two generations: 4 MiB together.
const MAX_PAGES: usize = 256;
/// How far the end of a string is sought.
const MAX_STRING_BYTES: u64 = 1 << 20;

/// The pages of a file that were needed last.
pub(super) struct Pages {
    file: File,
    file_bytes: u64,
    cached: RefCell<Cached>,
    budget: Rc<Budget>,
}

#[derive(Default)]
struct Cached {
    young: HashMap<u64, Rc<Vec<u8>>>,
    old: HashMap<u64, Rc<Vec<u8>>>,
}

impl Pages {
    /// None read yet.
    pub(super) fn new(file: File, budget: Rc<Budget>) -> Rc<Self> {
        let file_bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Rc::new(Self { file, file_bytes, cached: RefCell::default(), budget })
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let cached = self.cached.borrow();
        (cached.young.len() + cached.old.len()) as u64 * PAGE_BYTES
    }

    /// Everything between two offsets, not kept.
    pub(super) fn read(&self, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let mut content = vec![0; bytes];
        self.file.read_exact_at(&mut content, offset).ok()?;
        Some(content)
    }

    /// The page with an offset, shorter at the end of the file.
    fn page(&self, number: u64) -> Result<Rc<Vec<u8>>> {
        let mut cached = self.cached.borrow_mut();
        if let Some(page) = cached.young.get(&number) {
            return Ok(Rc::clone(page));
        }
        self.budget.check()?;
        let page = match cached.old.remove(&number) {
            Some(page) => page,
            None => Rc::new(self.load(number)?),
        };
        if cached.young.len() >= MAX_PAGES {
            cached.old = std::mem::take(&mut cached.young);
        }
        cached.young.insert(number, Rc::clone(&page));
        Ok(page)
    }

    fn load(&self, number: u64) -> Result<Vec<u8>> {
        let start = number * PAGE_BYTES;
        let bytes = self.file_bytes.saturating_sub(start).min(PAGE_BYTES);
        self.read(start, bytes as usize).ok_or(Error::Io)
    }
}

/// A part of a section. Positions are offsets in the file, or in the section where that is in memory.
#[derive(Clone)]
pub(super) struct Reader {
    /// None for a section in memory: all of it is in `window`.
    pages: Option<Rc<Pages>>,
    window: Rc<Vec<u8>>,
    window_at: u64,
    at: u64,
    end: u64,
    endian: RunTimeEndian,
}

impl Reader {
    /// A section in a file.
    pub(super) fn paged(pages: &Rc<Pages>, offset: u64, bytes: u64, endian: RunTimeEndian) -> Self {
        let end = offset.saturating_add(bytes).min(pages.file_bytes);
        let at = offset.min(end);
        Self { pages: Some(Rc::clone(pages)), window: Rc::default(), window_at: 0, at, end, endian }
    }

    /// A section in memory.
    pub(super) fn memory(content: Vec<u8>, endian: RunTimeEndian) -> Self {
        let end = content.len() as u64;
        Self { pages: None, window: Rc::new(content), window_at: 0, at: 0, end, endian }
    }

    /// The text up to a limit of bytes; what is no UTF-8 is replaced.
    pub(super) fn text(mut self, max_bytes: u64) -> Result<String> {
        self.end = self.end.min(self.at.saturating_add(max_bytes));
        Ok(gimli::Reader::to_string_lossy(&self)?.into_owned())
    }

    /// What is at hand from the position on; never empty before the end.
    fn at_hand(&mut self) -> Result<&[u8]> {
        let is_inside = self.at >= self.window_at && self.at - self.window_at < self.window.len() as u64;
        if !is_inside && let Some(pages) = &self.pages {
            let number = self.at / PAGE_BYTES;
            self.window = pages.page(number)?;
            self.window_at = number * PAGE_BYTES;
        }
        let bytes = usize::try_from(self.at - self.window_at).ok().and_then(|from| self.window.get(from..));
        let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or(Error::Io)?;
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn read_over_pages(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let bytes = self.at_hand()?;
            let count = bytes.len().min(buffer.len() - filled);
            if count == 0 {
                return Err(Error::Io);
            }
            buffer[filled..filled + count].copy_from_slice(&bytes[..count]);
            filled += count;
            self.at += count as u64;
        }
        Ok(())
    }

    fn check(&self, bytes: u64) -> Result<()> {
        if bytes > self.end - self.at { Err(Error::UnexpectedEof(self.id())) } else { Ok(()) }
    }

    fn id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Reader({:#x}..{:#x})", self.at, self.end)
    }
}

impl gimli::Reader for Reader {
    type Endian = RunTimeEndian;
    type Offset = u64;

    fn endian(&self) -> RunTimeEndian {
        self.endian
    }

    fn len(&self) -> u64 {
        self.end - self.at
    }

    fn empty(&mut self) {
        self.end = self.at;
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        self.check(len)?;
        self.end = self.at + len;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> u64 {
        self.at.wrapping_sub(base.at)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        self.id()
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<u64> {
        (self.at..=self.end).contains(&id.0).then(|| id.0 - self.at)
    }

    fn find(&self, byte: u8) -> Result<u64> {
        let mut ahead = self.clone();
        ahead.end = ahead.end.min(self.at.saturating_add(MAX_STRING_BYTES));
        while ahead.at < ahead.end {
            let bytes = ahead.at_hand()?;
            let (found, count) = (bytes.iter().position(|&other| other == byte), bytes.len() as u64);
            if let Some(index) = found {
                return Ok(ahead.at - self.at + index as u64);
            }
            ahead.at += count;
        }
        Err(Error::UnexpectedEof(self.id()))
    }

    fn skip(&mut self, len: u64) -> Result<()> {
        self.check(len)?;
        self.at += len;
        Ok(())
    }

    fn split(&mut self, len: u64) -> Result<Self> {
        self.check(len)?;
        let first = Self { end: self.at + len, ..self.clone() };
        self.at += len;
        Ok(first)
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        if self.end - self.at > MAX_STRING_BYTES {
            return Err(Error::UnexpectedEof(self.id()));
        }
        let mut content = vec![0; (self.end - self.at) as usize];
        self.clone().read_over_pages(&mut content)?;
        Ok(Cow::Owned(content))
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        let content = self.to_slice()?.into_owned();
        String::from_utf8(content).map(Cow::Owned).map_err(|_| Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        let content = self.to_slice()?.into_owned();
        Ok(Cow::Owned(String::from_utf8_lossy(&content).into_owned()))
    }

    #[inline]
    fn read_slice(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.check(buffer.len() as u64)?;
        let from = self.at.wrapping_sub(self.window_at) as usize;
        if let Some(bytes) = self.window.get(from..).and_then(|bytes| bytes.get(..buffer.len())) {
            buffer.copy_from_slice(bytes);
            self.at += buffer.len() as u64;
            return Ok(());
        }
        self.read_over_pages(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gimli::Reader as _;
    use std::io::Write as _;
    use std::time::Duration;

    fn paged(content: &[u8], offset: u64, bytes: u64) -> Reader {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let pages = Pages::new(file, Rc::new(Budget::new(Duration::from_secs(3600))));
        Reader::paged(&pages, offset, bytes, RunTimeEndian::Little)
    }

    fn content() -> Vec<u8> {
        (0..3 * PAGE_BYTES).map(|at| (at % 251) as u8 + 1).collect()
    }

    #[test]
    fn reads_across_pages_what_memory_reads() {
        let content = content();
        let mut file = paged(&content, 3, 2 * PAGE_BYTES);
        let mut memory = Reader::memory(content[3..3 + 2 * PAGE_BYTES as usize].to_vec(), RunTimeEndian::Little);
        while memory.len() >= 7 {
            assert_eq!(file.read_u32().unwrap(), memory.read_u32().unwrap());
            assert_eq!(file.read_u16().unwrap(), memory.read_u16().unwrap());
            assert_eq!(file.read_u8().unwrap(), memory.read_u8().unwrap());
        }
        assert_eq!(file.len(), memory.len());
        assert!(file.read_u64().is_err() && memory.read_u64().is_err());
    }

    #[test]
    fn finds_strings_that_lie_on_two_pages() {
        let mut content = content();
        let end = PAGE_BYTES as usize + 5;
        content[end] = 0;
        let mut reader = paged(&content, PAGE_BYTES - 3, PAGE_BYTES);
        let string = reader.read_null_terminated_slice().unwrap();
        assert_eq!(string.len(), 8);
        assert_eq!(string.to_slice().unwrap(), &content[PAGE_BYTES as usize - 3..end]);
        assert_eq!(reader.read_u8().unwrap(), content[end + 1]);
        assert!(reader.find(0).is_err());
    }

    #[test]
    fn a_section_beyond_the_file_ends_with_the_file() {
        let mut reader = paged(&content(), 3 * PAGE_BYTES - 2, u64::MAX);
        assert_eq!(reader.len(), 2);
        assert!(reader.read_u16().is_ok() && reader.read_u8().is_err());
        assert_eq!(paged(&content(), u64::MAX, u64::MAX).len(), 0);
    }

    #[test]
    fn holds_no_more_than_its_share_of_a_large_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1]).unwrap();
        file.set_len(64 << 20).unwrap();
        let pages = Pages::new(file, Rc::new(Budget::new(Duration::from_secs(3600))));
        let mut reader = Reader::paged(&pages, 0, 64 << 20, RunTimeEndian::Little);
        while reader.skip(PAGE_BYTES / 2).is_ok() && reader.read_u8().is_ok() {}
        assert!(pages.bytes() <= 2 * MAX_PAGES as u64 * PAGE_BYTES, "{} bytes", pages.bytes());
        assert!(reader.find(7).is_err());
    }

    #[test]
    fn reads_nothing_when_time_is_over() {
        let pages = Pages::new(File::open("/proc/self/exe").unwrap(), Rc::new(Budget::new(Duration::ZERO)));
        assert_eq!(Reader::paged(&pages, 0, 64, RunTimeEndian::Little).read_u8(), Err(Error::Io));
    }
}
