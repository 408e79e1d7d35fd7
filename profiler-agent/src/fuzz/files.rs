//! Readers of files: the bytes become a file in memory.

use crate::golang::{self, Pclntab};
use crate::process::elf;
use crate::process::{Executable, ExecutableKind, Root};
use crate::symbolize::Names;
use crate::symbolize::jitdump::JitDump;
use crate::symbolize::perf_map::PerfMap;
use crate::telemetry::metrics::Metrics;
use crate::unwind::cfi;
use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Debug information may take as long as it wants to: what takes too long is found here, too.
const UNLIMITED: Duration = Duration::from_secs(3600);
/// Bytes of a file that grows, read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Call frame information: what comes of it is bounded by the file, whatever ranges it claims.
pub fn eh_frame(data: &[u8]) {
    let Ok(table) = cfi::build(&file(data)) else { return };
    for address in interesting(data) {
        black_box(table.rule(table.base().wrapping_add(address)));
    }
    assert!(table.page_count() == 0 || table.rows() > 0);
}

/// ELF headers and notes.
pub fn elf_headers(data: &[u8]) {
    let Ok(facts) = elf::inspect(&file(data)) else { return };
    for offset in interesting(data) {
        black_box(facts.address_of(offset));
    }
    assert!(facts.build_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// Symbol tables, those in `.gnu_debugdata`, and links to debug files: whatever they hold, each address gets a name.
pub fn symbols(data: &[u8]) {
    names(data, Duration::ZERO);
}

/// Debug information, its functions, inlined calls and lines.
pub fn debug_info(data: &[u8]) {
    names(data, UNLIMITED);
}

fn names(data: &[u8], debug_info_time: Duration) {
    let file = file(data);
    let Ok(facts) = elf::inspect(&file) else { return };
    let (path, root) = (Arc::from("/fuzzed"), Root::default());
    let executable = Executable { id: 2, path, kind: ExecutableKind::Elf { file, facts }, root };
    let addresses = interesting(data);
    let found = Names::new(Arc::new(Metrics::default()), debug_info_time).find(&executable, &addresses);
    assert_eq!(found.len(), addresses.len());
    assert!(found.iter().all(|sites| !sites.is_empty() && sites.iter().all(|site| !site.name.is_empty())));
}

/// The tables of a Go program: names and rows.
pub fn go_tables(data: &[u8]) {
    let file = file(data);
    if let Ok(Some(table)) = golang::table(&file) {
        black_box(table.rule(table.base()));
    }
    let Ok(Some(table)) = Pclntab::open(&file) else { return };
    for address in interesting(data) {
        black_box(table.sites(&file, address));
    }
}

/// A perf map, read twice as if it had grown.
pub fn perf_map(data: &[u8]) {
    let mut map = PerfMap::default();
    grow(data, |file| map.refresh(file, &mut { READ_BYTES }));
    for address in interesting(data) {
        assert!(map.find(address).is_none_or(|name| !name.is_empty()));
    }
    assert!(map.bytes() < 64 * data.len() + READ_BYTES as usize);
}

/// A jitdump, read twice as if it had grown.
pub fn jitdump(data: &[u8]) {
    let mut dump = JitDump::default();
    grow(data, |file| dump.refresh(file, &mut { READ_BYTES }));
    for address in interesting(data) {
        black_box(dump.find(address).map(|found| (found.name.len(), found.place)));
    }
    assert!(dump.bytes() < 64 * data.len() + READ_BYTES as usize);
}

/// Half of the bytes as a file, then all of them.
fn grow(data: &[u8], mut read: impl FnMut(&File)) {
    let (half, rest) = data.split_at(data.len() / 2);
    let mut file = file(half);
    read(&file);
    write(&mut file, rest);
    read(&file);
}

/// The bytes as a file.
fn file(data: &[u8]) -> File {
    let made = rustix::fs::memfd_create("fuzzed", rustix::fs::MemfdFlags::CLOEXEC).map(File::from);
    let mut file = made.unwrap_or_else(|error| panic!("no file in memory: {error}"));
    write(&mut file, data);
    file
}

fn write(file: &mut File, data: &[u8]) {
    file.write_all(data).unwrap_or_else(|error| panic!("cannot write {} bytes to memory: {error}", data.len()));
}

/// Addresses and offsets at every border, those below 64 KiB, and the entry point that the input itself names.
fn interesting(data: &[u8]) -> Vec<u64> {
    let entry = data.get(24..32).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let low = (0..16).map(|index| index * 0x1000 + index);
    low.chain(entry).chain([1 << 32, 1 << 47, u64::MAX]).collect()
}
