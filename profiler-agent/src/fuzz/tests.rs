//! Every seed, and every input that once broke an entry, on the stable compiler and without a fuzzer.

use super::TARGETS;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Seeds of one target are small: larger ones are made from the host's own files by `cargo xtask fuzz`.
const MAX_SEED_BYTES: u64 = 64 << 10;

/// Wrong inputs made of one seed.
const WRONG_PER_SEED: usize = 64;

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
        for path in inputs_of(name, folder) {
            println!("{}", path.display());
            entry(&fs::read(&path).unwrap());
            inputs += 1;
        }
    }
    inputs
}

/// Files of a target in a folder that may lack it, always in the same order.
fn inputs_of(target: &str, folder: &str) -> Vec<PathBuf> {
    let folder = self::folder(folder).join(target);
    let mut paths = if folder.exists() { entries(&folder) } else { Vec::new() };
    paths.sort();
    paths
}

/// The seed with an end cut off, or with a few bytes replaced: the same for the same number.
fn wrong(seed: &[u8], number: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(number as u64);
    let mut bytes = seed.to_vec();
    if number.is_multiple_of(4) {
        bytes.truncate(random.random_range(0..seed.len()));
        return bytes;
    }
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..seed.len());
        bytes[at] = if random.random() { random.random() } else { *[0, 0x7f, 0x80, 0xff].choose(&mut random).unwrap() };
    }
    bytes
}

#[test]
fn seeds_break_nothing() {
    assert!(run("corpus") >= TARGETS.len());
}

#[test]
fn seeds_with_wrong_bytes_break_nothing() {
    for (name, entry) in TARGETS {
        for path in inputs_of(name, "corpus") {
            let seed = fs::read(&path).unwrap();
            for number in 0..WRONG_PER_SEED {
                println!("{} made wrong, number {number}", path.display());
                entry(&wrong(&seed, number));
            }
        }
    }
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
