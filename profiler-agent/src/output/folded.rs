//! Collapsed stacks, as `flamegraph.pl`, inferno and speedscope read them.
//!
//! One line per stack: `process;root;…;leaf count`. The process's name comes first because those tools' own collapsers
//! put it there; threads and services are not in it.

use super::text::{self, Frames};
use crate::profile::Profile;
use std::collections::HashMap;
use std::fmt::Write as _;

/// All stacks, sorted, a line each; empty without samples.
#[must_use]
pub fn folded(profile: &Profile) -> String {
    let mut text = String::new();
    for (stack, count) in sorted(profile) {
        let _ = writeln!(text, "{stack} {count}");
    }
    text
}

/// Distinct stacks and their counts, sorted frame by frame: all that share a root stand together. Sorted as text they
/// would not: `f(int)` comes between `f` and `f;g`.
pub(super) fn sorted(profile: &Profile) -> Vec<(String, u64)> {
    let mut stacks: Vec<(String, u64)> = collapse(profile).into_iter().collect();
    stacks.sort_unstable_by(|(a, _), (b, _)| a.split(';').cmp(b.split(';')));
    stacks
}

fn collapse(profile: &Profile) -> HashMap<String, u64> {
    let frames = Frames::new(profile);
    let processes: Vec<String> = profile.processes.iter().map(|process| text::frame(&process.name)).collect();
    let mut collapsed = HashMap::new();
    for ((process, stack), count) in by_process(profile) {
        let mut line = processes[process as usize].clone();
        for &location in profile.stacks[stack as usize].iter().rev() {
            frames.push(&mut line, &profile.locations[location as usize]);
        }
        *collapsed.entry(line).or_insert(0) += count;
    }
    collapsed
}

/// Samples by process and stack: a stack's text is made once, not once per thread.
fn by_process(profile: &Profile) -> HashMap<(u32, u32), u64> {
    let mut counts = HashMap::new();
    for sample in profile.services.iter().flat_map(|service| &service.samples) {
        let process = profile.threads[sample.thread as usize].process;
        *counts.entry((process, sample.stack)).or_insert(0) += sample.count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, HOSTILE, Named};
    use super::*;

    #[test]
    fn root_comes_first_and_kernel_frames_are_marked() {
        let profile = fixture::profile();
        assert_eq!(
            folded(&profile),
            "kworker/0:1;worker_thread_[k] 1\n\
             web;main 4\n\
             web;main;handle;inlined 50\n\
             web;main;handle;write;ksys_write_[k] 20\n\
             web;main;handle(int) 2\n"
        );
    }

    #[test]
    fn no_samples_no_lines() {
        assert_eq!(folded(&Profile::default()), "");
    }

    #[test]
    fn hostile_names_stay_one_frame_for_inferno() {
        for hostile in HOSTILE.iter() {
            let profile = fixture::named(&Named { process: hostile, function: hostile, ..Named::default() });
            let text = folded(&profile);
            assert_eq!(text.lines().count(), 1, "{hostile:?}");
            assert!(!text.trim_end_matches('\n').contains(|c: char| c.is_control()), "{hostile:?}");
            let mut svg = Vec::new();
            let mut options = inferno::flamegraph::Options::default();
            inferno::flamegraph::from_lines(&mut options, text.lines(), &mut svg).unwrap();
            let svg = String::from_utf8(svg).unwrap();
            // all, process, function, leaf: and no differential count.
            assert_eq!(svg.matches("<title>").count(), 4, "{hostile:?}: {text}");
            assert_eq!(svg.matches("(10 samples, 100.00%)").count(), 3, "{hostile:?}: {text}");
        }
    }
}
