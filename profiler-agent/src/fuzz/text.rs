//! Readers of bytes at hand.

use crate::bpf::Event;
use crate::process::maps as process_maps;
use crate::symbolize::demangle as names;
use std::hint::black_box;

/// A mangled name: what comes out is no longer than a name may be.
pub fn demangle(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    let demangled = names::demangle(&name);
    assert!(demangled.len() <= names::MAX_NAME_BYTES.max(name.len()));
}

/// A list of mappings as in `/proc/PID/maps`: sorted, none empty, none over another.
pub fn maps(data: &[u8]) {
    let mappings = process_maps::parse(data);
    let mut end = 0;
    for mapping in mappings.iter() {
        assert!(end <= mapping.start && mapping.start < mapping.end);
        end = mapping.end;
    }
}

/// A record of the ring buffer.
pub fn ring_record(data: &[u8]) {
    let Some(event) = crate::bpf::event::decode(data) else { return };
    if let Event::Sample(sample) = &event {
        assert_eq!(sample.kernel_frames().len() + sample.user_frames().len(), sample.frames.len());
        assert!(!sample.comm().contains(char::is_control));
    }
    black_box(event.time_ns());
}
