//! Power cuts: a machine writes a spool on a disk as fast as it can and is killed at a random moment; a second one reads
//! what the disk has. What was acknowledged and had not ended must be there, byte for byte; what had ended must not.

use super::kernels::Kernel;
use super::machine::Boot;
use super::{PATIENCE, places, shell};
use crate::setup::debian;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::time::Duration;

/// The series of the kernel that is killed: it has drivers for the disk and ext4 built in.
pub(super) const SERIES: &str = "5.10";
/// Kills in the long form; one in the short.
pub(super) const LONG_KILLS: u32 = 5;

const DISK_BYTES: u64 = 96 << 20;
/// Windows acknowledged before the kill, at least and at most: from the 21st on some end.
const WINDOWS: std::ops::Range<u64> = 30..90;
/// From the acknowledgement to the kill at most: about what writing two windows takes.
const MAX_DELAY_MS: u64 = 100;

/// Kills a machine so often.
pub(super) fn cut(kernel: &Kernel, initramfs: &Path, kills: u32) -> Result<()> {
    debian::install(&[("mke2fs", "e2fsprogs")])?;
    let folder = places::cache()?.join("vm");
    let (image, disk) = (kernel.image()?, folder.join("power.img"));
    for kill in 1..=kills {
        shell::step(&format!("cutting the power of {}, {kill} of {kills}", kernel.name()));
        format(&disk)?;
        let run = |verb: &str, mut is_over: &mut dyn FnMut(&str) -> bool| {
            let parameters = format!("rdinit=/power spool={verb}");
            let log = folder.join(format!("console-power-{verb}.log"));
            let architecture = kernel.architecture;
            let boot = Boot { architecture, image: &image, initramfs, log: &log, patience: PATIENCE };
            boot.run(Some(&disk), &parameters, &mut is_over)
        };
        let (windows, delay) = (WINDOWS.start + random(WINDOWS.end - WINDOWS.start), random(MAX_DELAY_MS));
        let last = format!("appended {windows}");
        let written = run("write", &mut |line| {
            let is_over = line == last;
            if is_over {
                std::thread::sleep(Duration::from_millis(delay));
            }
            is_over
        })?;
        let read = run("read", &mut |_| false)?;
        let (written, read) = (Events::parse(&written.lines), Events::parse(&read.lines));
        let problems = judge(&written, &read);
        let appended = written.all("appended").len();
        let (ended, found) = (written.all("ended").len(), read.all("found").len());
        println!(
            "{:13} power cut {delay} ms after window {windows}: {appended} acknowledged, {ended} ended, {found} found",
            kernel.name()
        );
        ensure!(
            problems.is_empty(),
            "{}; the consoles are {}",
            problems.join("; "),
            folder.join("console-power-*").display()
        );
    }
    Ok(fs::remove_file(&disk)?)
}

/// Makes an empty file system.
fn format(disk: &Path) -> Result<()> {
    let file = File::create(disk).with_context(|| format!("cannot write {}", disk.display()))?;
    file.set_len(DISK_BYTES)?;
    shell::run(shell::command("mke2fs", ["-q", "-F", "-t", "ext4"]).arg(disk))
}

/// A number below this one.
fn random(below: u64) -> u64 {
    RandomState::new().hash_one(below) % below
}

/// Numbers that lines begin with a word for.
#[derive(Default)]
struct Events(HashMap<String, Vec<u64>>);

impl Events {
    fn parse(lines: &[String]) -> Self {
        let mut events = Self::default();
        for line in lines {
            let mut words = line.split(' ');
            let Some(word) = words.next() else { continue };
            let numbers: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
            events.0.entry(word.to_owned()).or_default().extend(numbers.unwrap_or_default());
        }
        events
    }

    fn all(&self, word: &str) -> BTreeSet<u64> {
        self.0.get(word).map(|numbers| numbers.iter().copied().collect()).unwrap_or_default()
    }
}

/// What is not as it must be.
fn judge(written: &Events, read: &Events) -> Vec<String> {
    let (appended, ending, ended) = (written.all("appended"), written.all("ending"), written.all("ended"));
    let (found, damaged) = (read.all("found"), read.all("damaged"));
    let mut problems = Vec::new();
    let mut problem = |what: &str, windows: Vec<u64>| {
        if !windows.is_empty() {
            problems.push(format!("{what}: {windows:?}"));
        }
    };
    problem("lost", appended.difference(&found).filter(|window| !ending.contains(window)).copied().collect());
    problem("came back", ended.intersection(&found).copied().collect());
    problem("damaged", damaged.into_iter().collect());
    match read.0.get("state").map(Vec::as_slice) {
        Some(&[_, exported, corrupt]) => {
            problem("ended, by the state not", ended.into_iter().filter(|window| *window > exported).collect());
            problem("damaged records", (corrupt > 0).then_some(corrupt).into_iter().collect());
        }
        _ => problems.push("the second machine did not come to the end".to_owned()),
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(written: &[&str], read: &[&str]) -> Vec<String> {
        let [written, read] = [written, read]
            .map(|lines| Events::parse(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()));
        judge(&written, &read)
    }

    #[test]
    fn what_was_acknowledged_is_there_or_had_begun_to_end() {
        let written = ["appended 1", "appended 2", "appended 3", "ending 1", "ended 1", "ending 2"];
        assert_eq!(judged(&written, &["found 3", "found 4", "state 3 1 0"]), [""; 0]);
        assert_eq!(judged(&written, &["found 2", "found 3", "state 2 1 0"]), [""; 0]);
    }

    #[test]
    fn tells_what_is_not_as_it_must_be() {
        let written = ["appended 1", "appended 2", "ending 1", "ended 1"];
        assert_eq!(judged(&written, &["found 1", "state 2 1 0"]), ["lost: [2]", "came back: [1]"]);
        assert_eq!(
            judged(&written, &["found 2", "damaged 3", "state 2 0 4"]),
            ["damaged: [3]", "ended, by the state not: [1]", "damaged records: [4]"]
        );
        assert_eq!(judged(&written, &["found 2"]), ["the second machine did not come to the end"]);
    }
}
