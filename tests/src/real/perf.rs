//! `perf record --call-graph dwarf` of the same run, as a second opinion.

use super::load::Load;
use crate::recorded::is_named;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// How often perf looks, in Hz: more, with copies of stacks, and it is perf that is measured.
const FREQUENCY: &str = "--freq=99";
/// Copies of 4 KiB, for the same reason: they do not hold the whole of deep stacks.
const STACKS: &str = "--call-graph=dwarf,4096";

/// perf while it records.
pub struct PerfRecorder {
    child: Child,
    folder: TempDir,
}

/// Stacks as perf sees them: names of functions, leaf first.
#[derive(Clone, Debug)]
pub struct PerfStacks(pub Vec<Vec<String>>);

impl PerfRecorder {
    /// Records what runs in a load's control group: it sees short-lived processes, too, as the agent does.
    ///
    /// # Panics
    /// On hosts that have perf's control groups in a hierarchy of the first version: perf looks there alone.
    #[must_use]
    pub fn start(load: &Load) -> Self {
        let folder = tempfile::tempdir().expect("a folder for perf");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let group = load.group.path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--all-cpus", "--event=cpu-clock", "--cgroup", group, FREQUENCY, STACKS]);
        perf.args(["--mmap-pages=2048", "--output"]).arg(file(&folder));
        perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: perf.spawn().expect("perf starts"), folder }
    }

    /// Ends the recording and reads it.
    #[must_use]
    pub fn finish(mut self) -> PerfStacks {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(file(&self.folder).exists(), "perf has recorded nothing: {log}");
        let mut perf = Command::new("perf");
        perf.args(["script", "--no-inline", "--fields", "pid,ip,sym", "--input"]).arg(file(&self.folder));
        let output = perf.stdin(Stdio::null()).output().expect("perf starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{perf:?}: {}", String::from_utf8_lossy(&output.stderr));
        PerfStacks(parse(&text))
    }
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("perf.data")
}

/// Samples are separated by empty lines; each begins with its process.
fn parse(text: &str) -> Vec<Vec<String>> {
    let name = |line: &str| line.trim().split_once(' ').map(|(_, name)| name.to_owned());
    let stack = |sample: &str| sample.lines().skip(1).filter_map(name).collect();
    text.split("\n\n").filter(|sample| !sample.trim().is_empty()).map(stack).collect()
}

/// The largest distance in points between the shares of functions that both see as leaf, and of what perf sees on more
/// stacks than we do; prints those that are more than a point apart.
///
/// perf sees a function on fewer stacks than there are: its copies end, and it gives up where we do not.
#[must_use]
pub fn distance(ours: &Shares<'_>, perfs: &Shares<'_>) -> f64 {
    let mut largest: f64 = 0.0;
    for (name, ours) in ours {
        let Some(perfs) = perfs.get(name) else { continue };
        // A function that one side sees as leaf under another name is another function there.
        let leaf = if ours.0 > 0.0 && perfs.0 > 0.0 { (ours.0 - perfs.0).abs() } else { 0.0 };
        if leaf.max((ours.1 - perfs.1).abs()) > 1.0 {
            println!(
                "    {name}: leaf {:.2} %, perf {:.2} %; on stack {:.2} %, perf {:.2} %",
                ours.0, perfs.0, ours.1, perfs.1
            );
        }
        largest = largest.max(leaf).max(perfs.1 - ours.1);
    }
    largest
}

/// By function, in percent: stacks that have it as leaf, and stacks that have it. What has no name is no function.
pub type Shares<'a> = BTreeMap<&'a str, (f64, f64)>;

/// A name without what tells the names of one function in the C library apart.
#[must_use]
pub fn plain(name: &str) -> &str {
    let name = name.split("@@").next().unwrap_or(name).trim_start_matches('_');
    let name = name.strip_prefix("GI_").unwrap_or(name).trim_start_matches('_');
    name.strip_suffix("_impl").unwrap_or(name)
}

/// Share of stacks, in percent, with a function as leaf, and with it anywhere.
#[must_use]
pub fn shares<'a>(stacks: impl Iterator<Item = (Vec<&'a str>, u64)>) -> Shares<'a> {
    let mut counts = BTreeMap::<&str, (u64, u64)>::new();
    let mut total = 0;
    for (stack, count) in stacks {
        total += count;
        if let Some(leaf) = stack.first().filter(|name| is_named(name)) {
            counts.entry(leaf).or_default().0 += count;
        }
        for name in stack.iter().filter(|name| is_named(name)).collect::<BTreeSet<_>>() {
            counts.entry(name).or_default().1 += count;
        }
    }
    let percent = |count: u64| count as f64 * 100.0 / total.max(1) as f64;
    counts.into_iter().map(|(name, (leaf, any))| (name, (percent(leaf), percent(any)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples() {
        let text = "  71 \n\t  55 leaf\n\t  66 [unknown]\n\n  71 \n\t 77 operator new(unsigned long)\n\n";
        assert_eq!(parse(text), [vec!["leaf", "[unknown]"], vec!["operator new(unsigned long)"]]);
    }

    #[test]
    fn names_of_one_function_are_one() {
        let names = ["__libc_start_main@@GLIBC_2.34", "__libc_start_main_impl", "__GI___libc_start_main"];
        assert_eq!(names.map(plain), ["libc_start_main"; 3]);
    }

    #[test]
    fn a_function_counts_once_in_a_stack() {
        let stacks = [(vec!["f", "g", "f", "[unknown]"], 3), (vec!["g"], 1)];
        let shares = shares(stacks.into_iter());
        assert_eq!((shares["f"], shares["g"]), ((75.0, 75.0), (25.0, 100.0)));
        assert_eq!(shares.get("[unknown]"), None);
    }

    #[test]
    fn what_perf_sees_on_fewer_stacks_is_no_distance() {
        let ours = Shares::from([("f", (10.0, 90.0)), ("g", (5.0, 20.0)), ("ours", (50.0, 50.0))]);
        let perfs = Shares::from([("f", (12.0, 30.0)), ("g", (5.0, 24.0)), ("perfs", (50.0, 50.0))]);
        assert_eq!(distance(&ours, &perfs), 4.0);
    }
}
