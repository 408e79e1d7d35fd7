//! Files of `/proc/PID`, read with bounds.

use std::fs::File;
use std::io::Read as _;

/// 65,536 mappings with paths of a hundred bytes.
const MAX_MAPS_BYTES: u64 = 16 << 20;
/// The kernel bounds the environment by the stack limit; names are sought in its beginning.
const MAX_ENVIRON_BYTES: u64 = 1 << 20;
const MAX_CMDLINE_BYTES: u64 = 64 << 10;
const MAX_SMALL_BYTES: u64 = 16 << 10;

/// Memory mappings.
#[must_use]
pub(super) fn maps(pid: u32) -> Option<Vec<u8>> {
    read(pid, "maps", MAX_MAPS_BYTES)
}

/// Environment, NUL-separated.
#[must_use]
pub(super) fn environ(pid: u32) -> Option<Vec<u8>> {
    read(pid, "environ", MAX_ENVIRON_BYTES)
}

/// Arguments, NUL-separated.
#[must_use]
pub(super) fn cmdline(pid: u32) -> Option<Vec<u8>> {
    read(pid, "cmdline", MAX_CMDLINE_BYTES)
}

/// Ids and names of all kinds, a line each.
#[must_use]
pub(super) fn status(pid: u32) -> Option<Vec<u8>> {
    read(pid, "status", MAX_SMALL_BYTES)
}

/// Cgroups, a line per hierarchy.
#[must_use]
pub(super) fn cgroup(pid: u32) -> Option<String> {
    read(pid, "cgroup", MAX_SMALL_BYTES).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Target of `exe` without the mark of a deleted file.
#[must_use]
pub(super) fn exe(pid: u32) -> Option<String> {
    let target = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let target = target.to_string_lossy();
    Some(target.strip_suffix(" (deleted)").unwrap_or(&target).to_owned())
}

/// Start in ticks of `USER_HZ` since boot.
#[must_use]
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    parse_start_ticks(&stat(pid)?)
}

/// State, flags and times, in one line.
#[must_use]
pub(super) fn stat(pid: u32) -> Option<Vec<u8>> {
    read(pid, "stat", MAX_SMALL_BYTES)
}

fn read(pid: u32, name: &str, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/{name}")).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Field 22 of `/proc/PID/stat`; the name in field 2 may hold spaces and parentheses.
fn parse_start_ticks(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 2;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        let stat = b"7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 5 6 0 0 20 0 1 0 4242 1000 2 ...";
        assert_eq!(parse_start_ticks(stat), Some(4242));
        assert_eq!(parse_start_ticks(b"7 (a"), None);
    }

    #[test]
    fn reads_this_process() {
        let pid = std::process::id();
        assert!(maps(pid).unwrap().len() > 100);
        assert!(start_ticks(pid).unwrap() > 0);
        assert!(exe(pid).unwrap().contains("profiler_agent"));
        assert!(cmdline(0).is_none());
    }
}
