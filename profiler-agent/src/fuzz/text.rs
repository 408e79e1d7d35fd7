//! Readers of bytes at hand.

use crate::bpf::Event;
use crate::container;
use crate::process::maps as process_maps;
use crate::symbolize::demangle as names;
use std::hint::black_box;

/// A list of cgroups as in `/proc/PID/cgroup`: ids and uids are what they look like, and few.
pub fn cgroup(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let found = container::parse(&text);
    if let Some(found) = &found {
        assert!(found.pod_uid.is_some() || !found.ids.is_empty());
        assert!(found.ids.len() <= 4 && found.ids.iter().all(|id| id.len() == 64 && id.bytes().all(hexadecimal)));
        let of_uid = |uid: &str| uid.bytes().all(|byte| hexadecimal(byte) || byte == b'-');
        assert!(found.pod_uid.as_ref().is_none_or(|uid| matches!(uid.len(), 32 | 36) && of_uid(uid)));
    }
    assert!(container::runtime(&text).is_none() || found.is_some());
}

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
