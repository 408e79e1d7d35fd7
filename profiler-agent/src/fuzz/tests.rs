//! Every seed, and every input that once broke an entry, on the stable compiler and without a fuzzer.

use super::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Seeds of one target are small: larger ones are made from the host's own files by `cargo xtask fuzz`.
const MAX_SEED_BYTES: u64 = 64 << 10;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz").join(name)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn names(folder: &str) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries(&self::folder(folder)).into_iter().map(stem).collect()
}

/// A failing entry panics: the line above its message names the input.
fn run(folder: &str) -> usize {
    let mut inputs = 0;
    for (name, entry) in TARGETS {
        let inputs_of_target = self::folder(folder).join(name);
        if !inputs_of_target.exists() {
            continue;
        }
        for path in entries(&inputs_of_target) {
            println!("{}", path.display());
            entry(&fs::read(&path).unwrap());
            inputs += 1;
        }
    }
    inputs
}

#[test]
fn seeds_break_nothing() {
    assert!(run("corpus") >= TARGETS.len());
}

#[test]
fn inputs_that_once_broke_something_no_longer_do() {
    run("regressions");
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(names("regressions").is_subset(&known));
}

#[test]
fn every_target_has_a_program_and_small_seeds() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), known);
    assert_eq!(names("corpus"), known);
    for (name, _) in TARGETS {
        let bytes: u64 = entries(&folder("corpus").join(name)).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!((1..=MAX_SEED_BYTES).contains(&bytes), "{name}: {bytes} bytes of seeds");
    }
}
