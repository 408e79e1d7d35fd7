//! Readers of files: the bytes become a file in memory.

use crate::process::elf;
use crate::process::{Executable, ExecutableKind, Root};
use crate::symbolize::Names;
use crate::telemetry::metrics::Metrics;
use crate::unwind::cfi;
use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

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

/// Symbol tables: whatever they hold, each address gets a name.
pub fn symbols(data: &[u8]) {
    let file = file(data);
    let Ok(facts) = elf::inspect(&file) else { return };
    let (path, root) = (Arc::from("/fuzzed"), Root::default());
    let executable = Executable { id: 2, path, kind: ExecutableKind::Elf { file, facts }, root };
    let addresses = interesting(data);
    let found = Names::new(Arc::new(Metrics::default()), Duration::from_secs(1)).find(&executable, &addresses);
    assert_eq!(found.len(), addresses.len());
    assert!(found.iter().all(|sites| !sites.is_empty() && sites.iter().all(|site| !site.name.is_empty())));
}

/// The bytes as a file.
fn file(data: &[u8]) -> File {
    let made = rustix::fs::memfd_create("fuzzed", rustix::fs::MemfdFlags::CLOEXEC).map(File::from);
    let mut file = made.unwrap_or_else(|error| panic!("no file in memory: {error}"));
    file.write_all(data).unwrap_or_else(|error| panic!("cannot write {} bytes to memory: {error}", data.len()));
    file
}

/// Addresses and offsets at every border, those below 64 KiB, and the entry point that the input itself names.
fn interesting(data: &[u8]) -> Vec<u64> {
    let entry = data.get(24..32).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let low = (0..16).map(|index| index * 0x1000 + index);
    low.chain(entry).chain([1 << 32, 1 << 47, u64::MAX]).collect()
}
