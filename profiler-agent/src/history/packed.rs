//! A window as bytes: postcard, then gzip at its fastest level. Names repeat, so a window shrinks five to ten times.

use super::HistoryError;
use crate::profile::Profile;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{BufWriter, Read as _};
use std::sync::Arc;

/// Bytes handed to the compressor at a time.
const PIECE_BYTES: usize = 32 << 10;

/// Packs a profile.
pub(super) fn pack(profile: &Profile) -> Result<Arc<[u8]>, HistoryError> {
    let failed = |error: &dyn std::fmt::Display| HistoryError::Encode(error.to_string());
    // Numbers come one by one: each would be a call of the compressor.
    let writer = BufWriter::with_capacity(PIECE_BYTES, GzEncoder::new(Vec::new(), Compression::fast()));
    let writer = postcard::to_io(profile, writer).map_err(|error| failed(&error))?;
    let encoder = writer.into_inner().map_err(|error| failed(&error))?;
    let bytes = encoder.finish().map_err(|error| failed(&error))?;
    Ok(bytes.into())
}

/// Reads back what [`pack`] wrote. `None` is a fault of this module: the bytes never leave the process.
pub(super) fn unpack(bytes: &[u8]) -> Option<Profile> {
    let mut plain = Vec::with_capacity(bytes.len().saturating_mul(4));
    GzDecoder::new(bytes).read_to_end(&mut plain).ok()?;
    postcard::from_bytes(&plain).ok()
}
