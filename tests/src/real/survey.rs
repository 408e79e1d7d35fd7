//! The agent beside a program under load: which stacks reach the thread's root, which frames have names.

use super::files::Files;
use super::load::Load;
use super::perf::{self, PerfRecorder, PerfStacks};
use crate::agent::{Agent, Metrics};
use crate::recorded::is_named;
use crate::stacks::{Frame, stacks};
use crate::stub::{Answer, Protocol, Stub};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a number of samples may take, on a machine that has other things to do as well.
const PATIENCE: Duration = Duration::from_secs(600);
/// Stacks printed.
const SHOWN: usize = 20;
/// Frames printed of each: the innermost and the outermost.
const SHOWN_FRAMES: usize = 12;

/// Frames, leaf first, and how many samples have them.
pub type Stacks = HashMap<Rc<[Frame]>, u64>;

/// What was seen of a program.
pub struct Survey {
    /// The program.
    pub name: &'static str,
    /// When all samples were accounted for.
    pub metrics: Metrics,
    /// Those of all samples.
    pub stacks: Stacks,
    /// What perf recorded meanwhile.
    pub perf: Option<PerfStacks>,
    files: Files,
}

/// Shares of a survey, in percent.
#[derive(Clone, Debug)]
pub struct Shares {
    /// Samples taken.
    pub taken: f64,
    /// Stacks that the agent does not call incomplete.
    pub complete: f64,
    /// Stacks whose last frame is code that nothing returns from.
    pub rooted: f64,
    /// Frames with a name, of those in functions with a symbol.
    pub named: f64,
    /// Frames in functions with a symbol.
    pub with_symbols: u64,
}

impl Survey {
    /// Runs the agent until it has taken so many samples of the program; perf beside it if asked for.
    #[must_use]
    pub fn of(mut load: Load, samples: f64, with_perf: bool) -> Self {
        let stub = Stub::start(Protocol::Grpc, |_| Answer::Accept);
        let options = ["--frequency", "499", "--interval", "1s"];
        let agent =
            Agent::run(&[&options[..], &["--cgroup", load.group.as_str(), "--endpoint", &stub.endpoint()]].concat());
        let perf = with_perf.then(|| PerfRecorder::start(&load));
        wait_until(&agent, |metrics| metrics.taken() >= samples);
        load.assert_running();
        load.freeze();
        let perf = perf.map(PerfRecorder::finish);
        let metrics = wait_until(&agent, |metrics| metrics.get("profiler_samples_pending") == 0.0);
        metrics.assert_balance();
        assert_eq!(metrics.sum("profiler_samples_dropped_total"), 0.0, "{metrics:#?}");
        let (status, stderr) = agent.stop();
        assert!(status.success(), "{stderr}");
        let mut all = Stacks::new();
        for (frames, count) in stub.arrivals().iter().flat_map(|arrival| stacks(&arrival.request)) {
            *all.entry(frames).or_default() += count;
        }
        Self { name: load.name, metrics, stacks: all, perf, files: Files::default() }
    }

    /// Prints everything that was found, and returns the shares.
    pub fn report(&mut self) -> Shares {
        let shares = self.shares();
        let Shares { taken, complete, rooted, named, with_symbols } = shares;
        println!(
            "{:12} {taken:>7} samples, {complete:.3} % complete, {rooted:.3} % from a root; \
             {named:.3} % of {with_symbols} frames with a symbol have a name",
            self.name
        );
        for counter in ["stacks_incomplete", "stacks_copied", "unwind_tables_refused", "frames_unresolved"] {
            let prefix = format!("profiler_{counter}_total{{");
            for (name, value) in self.metrics.0.iter().filter(|(name, _)| name.starts_with(&prefix)) {
                println!("    {name} {value}");
            }
        }
        self.print_most("rootless", |files, frames| !is_rooted(files, frames));
        self.print_most("unnamed", |files, frames| frames.iter().any(|frame| lacks_name(files, frame)));
        shares
    }

    /// Prints how far the shares of functions are from perf's, and returns the largest distance in points.
    #[must_use]
    pub fn distance_from_perf(&self) -> f64 {
        let Some(PerfStacks(perf)) = &self.perf else { panic!("perf was not asked for") };
        let ours = perf::shares(self.stacks.iter().map(|(frames, count)| (names(frames), *count)));
        let of_perf = perf::shares(perf.iter().map(|stack| (stack.iter().map(|name| perf::plain(name)).collect(), 1)));
        let both = ours.keys().filter(|name| of_perf.contains_key(*name)).count();
        println!("{:12} perf: {} samples, {both} functions seen by both", self.name, perf.len());
        assert!(perf.len() > 1000 && both > 20, "{}: perf has {} samples", self.name, perf.len());
        perf::distance(&ours, &of_perf)
    }

    fn shares(&mut self) -> Shares {
        let taken = self.metrics.taken();
        assert_eq!(self.stacks.values().sum::<u64>() as f64, taken, "every sample has arrived");
        let (mut rooted, mut with_symbols, mut unnamed) = (0, 0, 0);
        for (frames, count) in &self.stacks {
            rooted += if is_rooted(&mut self.files, frames) { *count } else { 0 };
            for frame in frames.iter().filter(|frame| !frame.kernel) {
                with_symbols += if has_symbol(&mut self.files, frame) { *count } else { 0 };
                unnamed += if lacks_name(&mut self.files, frame) { *count } else { 0 };
            }
        }
        let percent = |part: f64, whole: f64| part / whole.max(1.0) * 100.0;
        Shares {
            taken,
            complete: percent(taken - self.metrics.sum("profiler_stacks_incomplete_total"), taken),
            rooted: percent(rooted as f64, taken),
            named: percent((with_symbols - unnamed) as f64, with_symbols as f64),
            with_symbols,
        }
    }

    /// The most frequent stacks of a kind.
    fn print_most(&mut self, kind: &str, is: impl Fn(&mut Files, &[Frame]) -> bool) {
        let mut stacks: Vec<_> = self.stacks.iter().filter(|(frames, _)| is(&mut self.files, frames)).collect();
        stacks.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let total: u64 = stacks.iter().map(|(_, count)| **count).sum();
        println!("    {kind}: {total} samples, {} stacks", stacks.len());
        let mut ends = BTreeMap::<String, u64>::new();
        for (frames, count) in &stacks {
            *ends.entry(frames.last().map(show).unwrap_or_default()).or_default() += **count;
        }
        for (end, count) in &ends {
            println!("      {count:>6} end in {end}");
        }
        for (frames, count) in stacks.iter().take(SHOWN) {
            println!("      {count} times {}", show_all(frames));
        }
    }
}

/// Waits for something in the metrics.
fn wait_until(agent: &Agent, come_true: impl Fn(&Metrics) -> bool) -> Metrics {
    let started = Instant::now();
    loop {
        let metrics = agent.metrics();
        if come_true(&metrics) {
            return metrics;
        }
        assert!(started.elapsed() < PATIENCE, "it does not come: {metrics:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the last frame is an outermost one. What the kernel does for a process without user stack has none.
fn is_rooted(files: &mut Files, frames: &[Frame]) -> bool {
    frames.last().is_none_or(|last| last.kernel || files.is_root(last))
}

fn has_symbol(files: &mut Files, frame: &Frame) -> bool {
    files.has_symtab(frame) || files.has_symbol(frame)
}

fn lacks_name(files: &mut Files, frame: &Frame) -> bool {
    !frame.kernel && !is_named(&frame.name) && has_symbol(files, frame)
}

fn show(frame: &Frame) -> String {
    let Frame { name, path, address, .. } = frame;
    format!("{name} ({path}+{address:#x})")
}

/// Leaf to last.
fn show_all(frames: &[Frame]) -> String {
    let mut text = format!("{} frames:", frames.len());
    for (index, frame) in frames.iter().enumerate() {
        if index < SHOWN_FRAMES || index + SHOWN_FRAMES >= frames.len() {
            let _ = write!(text, "\n        {index:>4} {}{}", show(frame), if frame.kernel { " [k]" } else { "" });
        }
    }
    text
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| perf::plain(&frame.name)).collect()
}
