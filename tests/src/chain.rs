//! Known call chains: what every stack below a burner must be, frame by frame, and what was found instead.

use crate::stacks::{Frame, Sample};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One frame of a chain, or some of one kind.
#[derive(Clone, Debug)]
pub enum Link {
    /// This function; `name.cold`, where a compiler moves a part of it to, is the function, too.
    Function(String),
    /// One of these functions: what it is called depends on the host.
    OneOf(Vec<String>),
    /// A function whose name begins like this: compilers decorate it.
    Like(String),
    /// One frame or more inside a module whose file name begins like this.
    Module(&'static str),
    /// One frame or more of functions whose names begin in one of these ways.
    Runtime(&'static [&'static str]),
    /// Any number of such functions: whether they are frames is up to the compiler.
    Perhaps(&'static [&'static str]),
    /// Whatever is left to the root, nothing included.
    Rest,
}

/// Shorthand of [`Link::Function`] for several, innermost first.
#[must_use]
pub fn functions(names: &[&str]) -> Vec<Link> {
    names.iter().map(|name| Link::Function((*name).to_owned())).collect()
}

impl Link {
    fn is(&self, frame: &Frame) -> bool {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| frame.name.starts_with(prefix));
        !frame.kernel
            && match self {
                Self::Function(name) => frame.name == *name || frame.name.strip_suffix(".cold") == Some(name),
                Self::OneOf(names) => names.contains(&frame.name),
                Self::Like(prefix) => begins(&[prefix]),
                Self::Module(prefix) => frame.module.starts_with(prefix),
                Self::Runtime(prefixes) | Self::Perhaps(prefixes) => begins(prefixes),
                Self::Rest => true,
            }
    }

    /// Fewest and most frames.
    fn frames(&self) -> (usize, usize) {
        match self {
            Self::Function(_) | Self::OneOf(_) | Self::Like(_) => (1, 1),
            Self::Module(_) | Self::Runtime(_) => (1, usize::MAX),
            Self::Perhaps(_) | Self::Rest => (0, usize::MAX),
        }
    }
}

/// Burners, and all that lies below them, innermost first.
#[derive(Clone, Debug)]
pub struct Chain {
    /// A sample counts when its leaf is one of these.
    pub burners: Vec<String>,
    /// From the burner's caller to the outermost frame.
    pub below: Vec<Link>,
}

impl Chain {
    /// The three burners that most workloads have.
    #[must_use]
    pub fn new(below: Vec<Link>) -> Self {
        Self::of(&["alpha", "beta", "gamma_"], below)
    }

    /// Other burners.
    #[must_use]
    pub fn of(burners: &[&str], below: Vec<Link>) -> Self {
        Self { burners: burners.iter().map(|name| (*name).to_owned()).collect(), below }
    }

    /// Where the stack departs from the chain: index of the frame and what should be there.
    fn departs(&self, frames: &[Frame]) -> Option<(usize, String)> {
        let mut at = 1;
        for (index, link) in self.below.iter().enumerate() {
            let next = self.below.get(index + 1);
            let (fewest, most) = link.frames();
            let goes_on = |count: usize, frame: &Frame| {
                link.is(frame) && count < most && !(count >= fewest && next.is_some_and(|next| next.is(frame)))
            };
            let count =
                frames[at.min(frames.len())..].iter().enumerate().take_while(|(n, frame)| goes_on(*n, frame)).count();
            if count < fewest {
                return Some((at + count, format!("{link:?}")));
            }
            at += count;
        }
        (at < frames.len()).then(|| (at, "the end".to_owned()))
    }
}

/// Judges the samples whose leaf is a burner of a chain. A burner of several chains may be on any of them.
#[must_use]
pub fn judge<'a>(chains: &[Chain], samples: impl Iterator<Item = &'a Sample>) -> Verdict {
    let mut verdict = Verdict::default();
    for Sample { frames, count, .. } in samples {
        let leaf = frames.first().map(|leaf| leaf.name.clone()).unwrap_or_default();
        let of_leaf = chains.iter().filter(|chain| chain.burners.contains(&leaf));
        // The chain that the stack follows longest: to its end, if it is whole.
        let length = |departure: &Option<(usize, String)>| departure.as_ref().map_or(usize::MAX, |(at, _)| *at);
        let Some(best) = of_leaf.map(|chain| chain.departs(frames)).max_by_key(length) else {
            verdict.elsewhere += count;
            continue;
        };
        *verdict.burners.entry(leaf).or_default() += count;
        match best {
            None => verdict.whole += count,
            Some(departure) => *verdict.others.entry(show(frames, &departure)).or_default() += count,
        }
    }
    verdict
}

/// What the samples of a process came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Samples with a burner as leaf and exactly the chain below.
    pub whole: u64,
    /// Samples with a burner as leaf and something else below, as text.
    pub others: BTreeMap<String, u64>,
    /// Samples with a burner as leaf, by burner.
    pub burners: BTreeMap<String, u64>,
    /// Samples with another leaf.
    pub elsewhere: u64,
}

impl Verdict {
    /// Samples with a burner as leaf.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.burners.values().sum()
    }

    /// Share of whole stacks, in percent; none without samples.
    #[must_use]
    pub fn percent(&self) -> f64 {
        self.whole as f64 / self.samples().max(1) as f64 * 100.0
    }

    /// Largest distance in points between a burner's share of the samples and its share of the clock.
    #[must_use]
    pub fn distance(&self, truth: &BTreeMap<String, f64>) -> f64 {
        let (samples, seconds) = (self.samples().max(1) as f64, truth.values().sum::<f64>());
        let distance = |(name, value): (&String, &f64)| {
            let count = self.burners.get(name).copied().unwrap_or(0) as f64;
            (count / samples - value / seconds).abs() * 100.0
        };
        truth.iter().map(distance).fold(0.0, f64::max)
    }
}

/// Frames around the departure.
fn show(frames: &[Frame], (at, expected): &(usize, String)) -> String {
    let mut text = format!("{} frames; frame {at} should be {expected}:", frames.len());
    let near = |index: usize| index < 3 || index + 3 >= *at && index <= at + 4 || index + 3 >= frames.len();
    let mut gap = false;
    for (index, frame) in frames.iter().enumerate() {
        if near(index) {
            let mark = if index == *at { ">" } else { " " };
            let Frame { name, module, address, kernel, .. } = frame;
            let kernel = if *kernel { " [k]" } else { "" };
            let _ = write!(text, "\n     {mark}{index:4} {name}{kernel} ({module}+{address:#x})");
        } else if !gap {
            text.push_str("\n          …");
        }
        gap = !near(index);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(names: &[&str]) -> Vec<Frame> {
        let frame = |name: &&str| Frame {
            name: (*name).to_owned(),
            module: if name.contains("libc") { "libc.so.6" } else { "program" }.to_owned(),
            path: String::new(),
            address: 1,
            kernel: false,
        };
        names.iter().map(frame).collect()
    }

    fn chain() -> Chain {
        let below = [&functions(&["f", "main"])[..], &[Link::Module("libc.so")], &functions(&["_start"])].concat();
        Chain::of(&["burn"], below)
    }

    #[test]
    fn a_whole_chain_is_whole() {
        assert_eq!(chain().departs(&frames(&["burn", "f", "main", "libc+0x1", "libc+0x2", "_start"])), None);
        assert_eq!(chain().departs(&frames(&["burn", "f.cold", "main", "libc+0x1", "_start"])), None);
    }

    #[test]
    fn what_may_be_there_need_not() {
        let chain = Chain::of(&["burn"], vec![Link::Perhaps(&["std::"]), Link::Function("main".into()), Link::Rest]);
        let whole = |names: &[&str]| chain.departs(&frames(names)).is_none();
        assert!(whole(&["burn", "main"]) && whole(&["burn", "std::a", "std::b", "main", "x", "y"]));
        assert!(!whole(&["burn", "other", "main"]) && !whole(&["burn", "std::a"]));
    }

    #[test]
    fn a_departure_is_found_where_it_is() {
        let at = |names: &[&str]| chain().departs(&frames(names)).unwrap().0;
        assert_eq!(at(&["burn", "main", "libc+0x1", "_start"]), 1);
        assert_eq!(at(&["burn", "f", "f", "main", "libc+0x1", "_start"]), 2);
        assert_eq!(at(&["burn", "f", "main", "_start"]), 3);
        assert_eq!(at(&["burn", "f", "main", "libc+0x1"]), 4);
        assert_eq!(at(&["burn", "f", "main", "libc+0x1", "_start", "more"]), 5);
        assert_eq!(at(&["burn"]), 1);
    }

    #[test]
    fn samples_are_judged_by_their_leaf() {
        let sample = |names: &[&str], count| Sample { pid: 1, tid: 1, frames: frames(names).into(), count };
        let samples = [
            sample(&["burn", "f", "main", "libc+0x1", "_start"], 6),
            sample(&["burn", "main", "libc+0x1", "_start"], 2),
            sample(&["other", "f"], 3),
        ];
        let verdict = judge(&[chain()], samples.iter());
        assert_eq!((verdict.whole, verdict.samples(), verdict.elsewhere, verdict.others.len()), (6, 8, 3, 1));
        assert_eq!(verdict.percent(), 75.0);
        assert_eq!(verdict.distance(&BTreeMap::from([("burn".to_owned(), 2.0)])), 0.0);
    }
}
