//! `/proc/PID/maps`: `start-end perms offset major:minor inode path`, man 5 proc.

use super::executable::FileKey;
use super::mapping::{MAX_MAPPINGS, Mapping, Mappings};
use std::sync::Arc;

/// Executable mappings; lines that make no sense are left out.
#[must_use]
pub(crate) fn parse(text: &[u8]) -> Mappings {
    let lines = text.split(|&byte| byte == b'\n');
    Mappings::new(lines.filter_map(parse_line).take(MAX_MAPPINGS))
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut next = || std::str::from_utf8(fields.next()?).ok();
    let (range, permissions, offset, device, inode) = (next()?, next()?, next()?, next()?, next()?);
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let device = libc::makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        file_offset: hex(offset)?,
        key: FileKey { device, inode: inode.parse().ok()? },
        path: Arc::from(unescape(path.strip_suffix(b" (deleted)").unwrap_or(path))),
        mapped_after_s: None,
        executable: None,
    })
}

/// The kernel writes a newline in a path as `\012`.
fn unescape(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace("\\012", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_executable_mappings() {
        let text = b"\
55d0c0a00000-55d0c0a02000 r--p 00000000 fe:00 1234                       /usr/bin/a b
55d0c0a02000-55d0c0a06000 r-xp 00002000 fe:00 1234                       /usr/bin/a b (deleted)
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7ffd1c1f0000-7ffd1c1f2000 r-xp 00000000 00:00 0                          [vdso]
nonsense
7f-80 r-xp zz 00:00 0
";
        let mut mappings = parse(text);
        let file = mappings.find_mut(0x55d0_c0a0_2000).unwrap();
        assert_eq!((&*file.path, file.file_offset, file.key.inode), ("/usr/bin/a b", 0x2000, 1234));
        assert_eq!(&*mappings.find_mut(0x7f00_0000_0000).unwrap().path, "");
        assert_eq!(&*mappings.find_mut(0x7ffd_1c1f_0000).unwrap().path, "[vdso]");
        assert!(mappings.find_mut(0x55d0_c0a0_0000).is_none());
        assert!(mappings.find_mut(0x7f).is_none());
    }
}
