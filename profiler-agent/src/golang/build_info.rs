//! What a Go program says about its build: the release of Go.
//!
//! Format: `.go.buildinfo` of Go's `debug/buildinfo` since Go 1.18: a magic, flags, and at byte 32 the length and the
//! bytes of the release. It lies at a multiple of 16 at the beginning of the data.

use super::image::Image;
use std::fs::File;

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Bytes of each segment looked through: as many as Go's own reader does.
const SCAN_BYTES: usize = 1 << 20;
/// The flags stand behind the magic and the size of pointers.
const FLAGS_AT: usize = 15;
/// Strings stand in the header, not behind pointers.
const INLINE: u8 = 2;
const RELEASE_AT: usize = 32;
/// Releases have a dozen letters.
const MAX_RELEASE_BYTES: usize = 64;

/// The release; none where the program does not say or says it in the way of older ones.
pub(super) fn release(file: &File, image: &Image) -> Option<String> {
    let mut piece = vec![0; SCAN_BYTES];
    let data = image.segments.iter().filter(|segment| segment.writable);
    data.take(4).find_map(|segment| find(segment.region.read(file, 0, &mut piece)?))
}

fn find(data: &[u8]) -> Option<String> {
    let start = (0..data.len()).step_by(16).find(|&start| data[start..].starts_with(MAGIC))?;
    let header = &data[start..];
    let is_inline = header.get(FLAGS_AT)? & INLINE != 0;
    let length = usize::from(*header.get(RELEASE_AT)?);
    let release = header.get(RELEASE_AT + 1..)?.get(..length)?;
    let is_release = is_inline && length <= MAX_RELEASE_BYTES && release.iter().all(|byte| (32..127).contains(byte));
    is_release.then(|| String::from_utf8_lossy(release).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(flags: u8, release: &[u8]) -> Vec<u8> {
        let mut data = vec![0; 48];
        data.extend(MAGIC);
        data.extend([8, flags]);
        data.resize(48 + RELEASE_AT, 0);
        data.push(release.len() as u8);
        data.extend(release);
        data
    }

    #[test]
    fn reads_the_release_and_nothing_else() {
        assert_eq!(find(&data(2, b"go1.24.4")).as_deref(), Some("go1.24.4"));
        assert_eq!(find(&data(0, b"go1.17")), None);
        assert_eq!(find(&data(2, b"go\x1b[31m")), None);
        assert_eq!(find(&data(2, &[b'a'; 100])), None);
        let whole = data(2, b"go1.24.4");
        assert!((0..whole.len()).all(|end| find(&whole[..end]).is_none()));
    }
}
