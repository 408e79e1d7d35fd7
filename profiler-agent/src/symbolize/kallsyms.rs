//! Functions of the running kernel, its modules and its BPF programs: `/proc/kallsyms`, a line
//! `address type name [module]` each.
//!
//! The core's functions stay for good. Modules and BPF programs come and go: when an address outside the core turns up
//! that was not there at the last reading, the list is read again, at most every ten seconds and ever more seldom as
//! long as it says nothing new.
//!
//! The kernel shows zeros to those who may not see its addresses: that is no name, and `doctor` has said so at the start.

use super::arena::Arena;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest time between two readings; doubled after each that says nothing new.
const REREAD: Duration = Duration::from_secs(10);
/// Longest time between two readings.
const MAX_REREAD: Duration = Duration::from_secs(600);
/// Functions at most: ten times those of a distribution's kernel with all its modules.
const MAX_FUNCTIONS: usize = 4 << 20;
/// There are no sizes. Outside the core an address this far behind a function is no part of it.
const MAX_FUNCTION_BYTES: u64 = 1 << 20;
/// Addresses outside the core that are remembered.
const MAX_SEEN: usize = 65_536;

/// The kernel's functions.
pub(super) struct Kallsyms {
    path: PathBuf,
    /// Open for good: who may see addresses is decided when it is opened.
    file: Option<Arc<File>>,
    table: Result<Table, &'static str>,
    /// Outside the core, since the last reading.
    seen: HashSet<u64>,
    read_after: Option<Instant>,
    wait: Duration,
}

impl Default for Kallsyms {
    fn default() -> Self {
        Self::of(PathBuf::from("/proc/kallsyms"))
    }
}

impl Kallsyms {
    /// Of the kernel, from a file that was opened by somebody who may see addresses; without one, it is opened when it
    /// is needed.
    pub(super) fn opened(file: Option<Arc<File>>) -> Self {
        Self { file, ..Self::default() }
    }

    /// Of a file of this form.
    fn of(path: PathBuf) -> Self {
        let (file, seen, read_after, wait) = (None, HashSet::new(), None, REREAD);
        Self { path, file, table: Err("kallsyms_unreadable"), seen, read_after, wait }
    }

    /// Names of addresses in their order, or why there is none.
    pub(super) fn names(&mut self, addresses: &[u64], now: Instant) -> Vec<Result<String, &'static str>> {
        let is_new = |address: &u64| match &self.table {
            Ok(table) => !table.core.contains(address) && !self.seen.contains(address),
            Err(_) => true,
        };
        if addresses.iter().any(is_new) && self.read_after.is_none_or(|after| after <= now) {
            self.read(now);
        }
        let table = match &self.table {
            Ok(table) => table,
            Err(reason) => return addresses.iter().map(|_| Err(*reason)).collect(),
        };
        let outside = addresses.iter().copied().filter(|address| !table.core.contains(address));
        self.seen.extend(outside.take(MAX_SEEN.saturating_sub(self.seen.len())));
        addresses.iter().map(|&address| table.find(address).map(str::to_owned).ok_or("unknown_address")).collect()
    }

    /// Memory in bytes.
    pub(super) fn memory(&self) -> usize {
        let seen = self.seen.capacity() * size_of::<u64>();
        self.table.as_ref().map_or(0, |table| table.starts.len() * 12 + table.arena.bytes()) + seen
    }

    fn read(&mut self, now: Instant) {
        let table = self.table();
        let is_news = match (&self.table, &table) {
            (Ok(before), Ok(after)) => before.starts != after.starts,
            (before, after) => before.is_ok() != after.is_ok(),
        };
        self.wait = if is_news { REREAD } else { MAX_REREAD.min(self.wait * 2) };
        self.read_after = Some(now + self.wait);
        self.seen.clear();
        // What was once read stays true of the core.
        if table.is_ok() || self.table.is_err() {
            self.table = table;
        }
    }

    fn table(&mut self) -> Result<Table, &'static str> {
        let unreadable = |_| "kallsyms_unreadable";
        let file = match self.file.take() {
            Some(file) => file,
            None => Arc::new(File::open(&self.path).map_err(unreadable)?),
        };
        let table = Table::read(FromStart { file: &file, offset: 0 }).map_err(unreadable)?;
        if table.starts.is_empty() {
            return Err("kallsyms_hidden");
        }
        self.file = Some(file);
        Ok(table)
    }
}

/// A file from its beginning, whoever else reads it at the same time.
struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Functions by address; of several at one address the first in the list, as the kernel itself chooses.
#[derive(Default)]
struct Table {
    starts: Vec<u64>,
    names: Vec<u32>,
    arena: Arena,
    /// `_stext` to `_etext`.
    core: Range<u64>,
}

impl Table {
    fn read(file: impl Read) -> io::Result<Self> {
        let (mut table, mut functions, mut line) = (Self::default(), Vec::new(), Vec::new());
        let mut reader = BufReader::with_capacity(64 << 10, file);
        while functions.len() < MAX_FUNCTIONS {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            functions.extend(table.function(&line));
        }
        functions.sort_by_key(|&(start, _)| start);
        functions.dedup_by_key(|&mut (start, _)| start);
        (table.starts, table.names) = functions.into_iter().unzip();
        table.arena.shrink();
        Ok(table)
    }

    /// Address and name of a line; none for data, and where the address is hidden.
    fn function(&mut self, line: &[u8]) -> Option<(u64, u32)> {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let (address, kind, name) = (fields.next()?, fields.next()?, fields.next()?);
        let address = u64::from_str_radix(std::str::from_utf8(address).ok()?, 16).ok()?;
        match name {
            b"_stext" => self.core.start = address,
            b"_etext" => self.core.end = address,
            _ => {}
        }
        if address == 0 || !matches!(kind, b"t" | b"T" | b"w" | b"W") {
            return None;
        }
        let name = match fields.next() {
            Some(module) => self.arena.push(&[name, b" ", module].concat()),
            None => self.arena.push(name),
        };
        Some((address, name?))
    }

    fn find(&self, address: u64) -> Option<&str> {
        let index = self.starts.partition_point(|&start| start <= address).checked_sub(1)?;
        let start = self.starts[index];
        let belongs = match self.core.contains(&address) {
            true => self.core.contains(&start),
            false => !self.core.contains(&start) && address - start < MAX_FUNCTION_BYTES,
        };
        belongs.then(|| self.arena.get(self.names[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const TEXT: &str = "\
ffffffff81000000 T _stext
ffffffff81000000 T startup
ffffffff81000100 t do_one
ffffffff81000180 W weak
ffffffff81000200 D some_data
ffffffff81000300 T _etext
ffffffff81400000 d more_data
ffffffffc0279010 t fuse_dev_init\t[fuse]
ffffffffc003b960 t bpf_prog_7cc47bbf07148bfe_hid_tail_call\t[bpf]
nonsense
";

    fn kallsyms(text: &str) -> (Kallsyms, tempfile::NamedTempFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        (Kallsyms::of(file.path().into()), file)
    }

    fn name(kallsyms: &mut Kallsyms, address: u64, now: Instant) -> String {
        kallsyms.names(&[address], now).remove(0).unwrap_or_else(str::to_owned)
    }

    #[test]
    fn names_functions_as_the_kernel_does() {
        let (mut kallsyms, _file) = kallsyms(TEXT);
        for (address, expected) in [
            (0xffff_ffff_8100_0000, "_stext"),
            (0xffff_ffff_8100_0101, "do_one"),
            (0xffff_ffff_8100_0210, "weak"),
            (0xffff_ffff_8100_0300, "_etext"),
            (0xffff_ffff_8800_0000, "unknown_address"),
            (0xffff_ffff_c027_9011, "fuse_dev_init [fuse]"),
            (0xffff_ffff_c003_b970, "bpf_prog_7cc47bbf07148bfe_hid_tail_call [bpf]"),
            (0xffff_ffff_c05f_0000, "unknown_address"),
            (0xffff_ffff_8000_0000, "unknown_address"),
            (0, "unknown_address"),
        ] {
            assert_eq!(name(&mut kallsyms, address, Instant::now()), expected, "{address:#x}");
        }
    }

    #[test]
    fn finds_what_is_loaded_later_without_reading_too_often() {
        let (mut kallsyms, mut file) = kallsyms(TEXT);
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let later = 0xffff_ffff_c100_0010;
        assert_eq!(name(&mut kallsyms, 0xffff_ffff_8100_0101, start), "do_one");
        file.write_all(b"ffffffffc1000000 t loaded_later\t[new]\n").unwrap();
        assert_eq!(name(&mut kallsyms, later, start + 9 * second), "unknown_address");
        // It has been seen now, but not by a reading.
        kallsyms.seen.clear();
        assert_eq!(name(&mut kallsyms, later, start + 10 * second), "loaded_later [new]");
        file.write_all(b"ffffffffc2000000 t last\t[new]\n").unwrap();
        assert_eq!(name(&mut kallsyms, 0xffff_ffff_c200_0010, start + 21 * second), "last [new]");
        // Nothing new any more: twice as long each time.
        let mut readings = 0;
        for round in 0..3600 {
            let before = kallsyms.read_after;
            let _ = kallsyms.names(&[0xffff_ffff_c300_0000 + round], start + (21 + round as u32) * second);
            readings += u32::from(before != kallsyms.read_after);
        }
        assert_eq!(readings, 10);
    }

    #[test]
    fn zeros_are_no_names_and_heal() {
        let hidden =
            TEXT.lines().filter_map(|line| line.split_once(' ')).map(|(_, rest)| format!("{:016x} {rest}\n", 0));
        let hidden: String = hidden.collect();
        let (mut kallsyms, file) = kallsyms(&hidden);
        let start = Instant::now();
        assert_eq!(name(&mut kallsyms, 0xffff_ffff_8100_0101, start), "kallsyms_hidden");
        std::fs::write(file.path(), TEXT).unwrap();
        assert_eq!(name(&mut kallsyms, 0xffff_ffff_8100_0101, start), "kallsyms_hidden");
        assert_eq!(name(&mut kallsyms, 0xffff_ffff_8100_0101, start + MAX_REREAD), "do_one");
        let mut none = Kallsyms::of("/nowhere".into());
        assert_eq!(name(&mut none, 1, start), "kallsyms_unreadable");
    }
}
