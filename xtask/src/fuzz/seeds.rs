//! Seeds from this host: small programs and libraries for the targets that read ELF files.

use super::MAX_INPUT_BYTES;
use anyhow::Result;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Targets that read ELF files.
const ELF_TARGETS: &[&str] = &["debug_links", "eh_frame", "elf_headers", "symbols"];
/// Seeds of one target at most.
const MAX_SEEDS: usize = 32;
/// Where they are looked for.
const FOLDERS: &[&str] = &["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];

/// Copies seeds into the folder of a target that wants them.
pub(super) fn add(target: &str, folder: &Path) -> Result<()> {
    if !ELF_TARGETS.contains(&target) {
        return Ok(());
    }
    for file in files()? {
        let copy = folder.join(format!("host-{}", file.file_name().unwrap_or_default().display()));
        if !copy.exists() {
            fs::copy(&file, &copy)?;
        }
    }
    Ok(())
}

/// Small ELF files, the same ones each time.
fn files() -> Result<Vec<PathBuf>> {
    let entries = FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_wanted(path)).collect();
    files.sort();
    files.truncate(MAX_SEEDS);
    Ok(files)
}

fn is_wanted(path: &Path) -> bool {
    let small = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_INPUT_BYTES);
    let mut magic = [0; 4];
    small && fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"\x7fELF"
}
