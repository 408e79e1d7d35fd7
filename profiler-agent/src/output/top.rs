//! The table of the hottest functions that `record` prints.

use super::text;
use crate::profile::Profile;
use std::collections::HashMap;
use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar as _;

/// Rows unless asked otherwise.
pub const TOP_ROWS: usize = 20;

/// The narrowest function column; columns are dropped before it gets narrower.
const MIN_FUNCTION_WIDTH: usize = 24;
const MAX_MODULE_WIDTH: usize = 28;
const GAP: &str = "  ";

/// The `rows` functions with the most self time, in lines of at most `width` columns.
///
/// Self is the time in the function itself, total the time in it and what it calls; a recursive function's total counts
/// a sample once. A function that occurs in two modules has two rows. Inlined functions have their own.
#[must_use]
pub fn top(profile: &Profile, rows: usize, width: usize) -> String {
    let samples = profile.sample_count();
    if samples == 0 {
        return fit_end("no samples", width) + "\n";
    }
    let mut functions = measure(profile);
    let all = functions.len();
    functions.sort_unstable_by(|a, b| b.rank().cmp(&a.rank()).then_with(|| a.name.cmp(&b.name)));
    functions.truncate(rows);
    let clock = Clock::new(profile, samples);
    let mut table = vec![summary(profile, samples, functions.len(), all, &clock), String::new()];
    table.extend(lines(&functions, samples, &clock, width));
    let mut text = String::new();
    for line in table {
        let _ = writeln!(text, "{}", fit_end(&line, width));
    }
    text
}

/// A function's samples.
struct Measured {
    name: String,
    module: String,
    self_count: u64,
    total_count: u64,
}

impl Measured {
    fn rank(&self) -> (u64, u64) {
        (self.self_count, self.total_count)
    }
}

fn measure(profile: &Profile) -> Vec<Measured> {
    let (mut measured, rows) = rows(profile);
    let mut counts = vec![0; profile.stacks.len()];
    for sample in profile.services.iter().flat_map(|service| &service.samples) {
        counts[sample.stack as usize] += sample.count;
    }
    // For each row the last stack that was added to its total.
    let mut seen = vec![usize::MAX; measured.len()];
    for (index, (stack, count)) in profile.stacks.iter().zip(counts).enumerate() {
        let mut frames = stack.iter().flat_map(|&location| &rows[location as usize]).copied().peekable();
        if let Some(&leaf) = frames.peek() {
            measured[leaf].self_count += count;
        }
        for row in frames {
            if std::mem::replace(&mut seen[row], index) != index {
                measured[row].total_count += count;
            }
        }
    }
    measured.retain(|function| function.total_count > 0);
    measured
}

/// An empty row for every function of every module, and the rows of each location's lines.
fn rows(profile: &Profile) -> (Vec<Measured>, Vec<Vec<usize>>) {
    let mut indices = HashMap::new();
    let mut measured = Vec::new();
    let mut row = |function: u32, module: &str| {
        let name = &*profile.functions[function as usize].name;
        *indices.entry((name.to_owned(), module.to_owned())).or_insert_with(|| {
            let module = visible(module);
            measured.push(Measured { name: visible(name), module, self_count: 0, total_count: 0 });
            measured.len() - 1
        })
    };
    let rows = profile
        .locations
        .iter()
        .map(|location| {
            let module = text::file_name(&profile.mappings[location.mapping as usize].path);
            location.lines.iter().map(|line| row(line.function, module)).collect()
        })
        .collect();
    (measured, rows)
}

/// Printable, and without characters of no width: piled up they reach into the rows above.
pub(crate) fn visible(name: &str) -> String {
    let name: String = text::name(name).chars().filter(|&c| char_width(c) > 0).collect();
    text::name(&name).into_owned()
}

/// Turns counts into seconds with as many decimals as the total deserves.
struct Clock {
    period_s: f64,
    decimals: usize,
}

impl Clock {
    fn new(profile: &Profile, samples: u64) -> Self {
        let period_s = profile.period_ns as f64 / 1e9;
        let decimals = if period_s * (samples as f64) < 10.0 { 3 } else { 2 };
        Self { period_s, decimals }
    }

    fn seconds(&self, count: u64) -> String {
        format!("{:.*} s", self.decimals, count as f64 * self.period_s)
    }
}

fn summary(profile: &Profile, samples: u64, shown: usize, all: usize, clock: &Clock) -> String {
    let functions = if shown < all { format!("{shown} of {all} functions") } else { format!("{all} functions") };
    format!(
        "{} samples, {} of CPU time in {:.1} s; {functions} by self time",
        text::grouped(samples),
        clock.seconds(samples),
        profile.duration_ns as f64 / 1e9
    )
}

/// Header and rows.
fn lines(functions: &[Measured], samples: u64, clock: &Clock, width: usize) -> Vec<String> {
    let share = |count: u64| format!("{:.2}%", 100.0 * count as f64 / samples as f64);
    let numbers: Vec<[String; 4]> = std::iter::once(["self %", "self", "total %", "total"].map(str::to_owned))
        .chain(functions.iter().map(|function| {
            let (own, total) = (function.self_count, function.total_count);
            [share(own), clock.seconds(own), share(total), clock.seconds(total)]
        }))
        .collect();
    let names = std::iter::once(("function", "module"))
        .chain(functions.iter().map(|function| (function.name.as_str(), function.module.as_str())));
    let columns = Columns::new(&numbers, functions, width);
    numbers.iter().zip(names).map(|(numbers, (name, module))| columns.line(numbers, name, module)).collect()
}

/// Widths of the columns; 0 for one that is left out.
struct Columns {
    numbers: [usize; 4],
    function: usize,
    module: usize,
}

impl Columns {
    fn new(numbers: &[[String; 4]], functions: &[Measured], width: usize) -> Self {
        let widest = |column: usize| numbers.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let mut columns = Self { numbers: [0, 1, 2, 3].map(widest), function: 0, module: 0 };
        let module = functions.iter().map(|function| text_width(&function.module)).max().unwrap_or(0);
        let name = functions.iter().map(|function| text_width(&function.name)).max().unwrap_or(0);
        if columns.left(width) < MIN_FUNCTION_WIDTH {
            (columns.numbers[1], columns.numbers[3]) = (0, 0);
        }
        let left = columns.left(width);
        let wanted = module.max("module".len());
        // Short function names leave the module more room than its share.
        let room = (left / 3).min(MAX_MODULE_WIDTH).max(left.saturating_sub(name + GAP.len()));
        let module = wanted.min(room);
        if module >= "module".len() && left >= MIN_FUNCTION_WIDTH + GAP.len() + module {
            columns.module = module;
        }
        columns.function = columns.left(width).min(name.max("function".len()));
        columns
    }

    /// What is left for the function.
    fn left(&self, width: usize) -> usize {
        let taken = self.numbers.iter().chain([&self.module]).filter(|column| **column > 0);
        width.saturating_sub(taken.map(|column| column + GAP.len()).sum())
    }

    fn line(&self, numbers: &[String; 4], name: &str, module: &str) -> String {
        let mut line = String::new();
        for (number, &width) in numbers.iter().zip(&self.numbers).filter(|(_, width)| **width > 0) {
            let _ = write!(line, "{number:>width$}{GAP}");
        }
        let name = fit_middle(name, self.function);
        line.push_str(&name);
        if self.module > 0 {
            let blanks = self.function - text_width(&name);
            let _ = write!(line, "{:blanks$}{GAP}{}", "", fit_end(module, self.module));
        }
        line
    }
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Columns of a terminal that a text takes.
pub(crate) fn text_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The text, its end replaced by `…` where it is wider than `width`.
fn fit_end(text: &str, width: usize) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    match width {
        0 => String::new(),
        _ => prefix(text.chars(), width - 1) + "…",
    }
}

/// The text, its middle replaced by `…` where it is wider than `width`: names differ at both ends.
pub(crate) fn fit_middle(text: &str, width: usize) -> String {
    if text_width(text) <= width || width < 3 {
        return fit_end(text, width);
    }
    let end: String = prefix(text.chars().rev(), (width - 1) / 2);
    prefix(text.chars(), width - 1 - (width - 1) / 2) + "…" + &end.chars().rev().collect::<String>()
}

/// As many characters as fit.
fn prefix(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += char_width(*c);
        used <= width
    };
    characters.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, HOSTILE, Named};
    use super::*;
    use crate::profile::{FrameKind, Location};

    #[test]
    fn counts_self_and_total() {
        assert_eq!(
            top(&fixture::profile(), 20, 100),
            "77 samples, 0.770 s of CPU time in 1.0 s; 7 functions by self time\n\
             \n\
             self %     self  total %    total  function       module\n\
             64.94%  0.500 s   64.94%  0.500 s  inlined        web\n\
             25.97%  0.200 s   25.97%  0.200 s  ksys_write     [kernel]\n \
              5.19%  0.040 s   98.70%  0.760 s  main           web\n \
              2.60%  0.020 s    2.60%  0.020 s  handle(int)    web\n \
              1.30%  0.010 s    1.30%  0.010 s  worker_thread  [kernel]\n \
              0.00%  0.000 s   90.91%  0.700 s  handle         web\n \
              0.00%  0.000 s   25.97%  0.200 s  write          libc.so.6\n"
        );
    }

    #[test]
    fn recursion_counts_once() {
        let mut profile = fixture::named(&Named::default());
        profile.stacks = vec![Box::from([1, 0, 1, 1])];
        let lines = lines(&measure(&profile), 10, &Clock::new(&profile, 10), 100);
        assert_eq!(lines[2], "100.00%  0.100 s  100.00%  0.100 s  f         web");
        assert_eq!(lines[1], "  0.00%  0.000 s  100.00%  0.100 s  leaf      web");
    }

    #[test]
    fn one_function_in_two_modules_is_two_rows() {
        let mut profile = fixture::named(&Named::default());
        profile.mappings.push(crate::profile::Mapping { path: "/lib/b.so".into(), build_id: "".into() });
        let lines = profile.locations[1].lines.clone();
        profile.locations.push(Location { mapping: 1, address: 1, kind: FrameKind::Native, lines });
        profile.stacks = vec![Box::from([1, 2])];
        assert_eq!(measure(&profile).len(), 2);
    }

    #[test]
    fn shows_only_so_many_rows() {
        let table = top(&fixture::profile(), 2, 80);
        assert_eq!(table.lines().count(), 5);
        assert!(table.contains("; 2 of 7 functions by self time\n"), "{table}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for name in HOSTILE.iter() {
            let profile = fixture::named(&Named { function: name, mapping: name, ..Named::default() });
            for width in (0..40).chain([57, 58, 80, 99, 200]) {
                let table = top(&profile, 20, width);
                assert_eq!(table.lines().count(), 5, "{name:?} {width}");
                for line in table.lines() {
                    assert!(text_width(line) <= width, "{name:?} {width}: {line:?}");
                    assert!(line.chars().all(|c| !c.is_control() && char_width(c) > 0), "{name:?} {width}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn cuts_names_in_the_middle() {
        assert_eq!(fit_middle("alloc::vec::Vec<T>::push", 11), "alloc…:push");
        assert_eq!(fit_middle("語語語語", 7), "語…語");
        assert_eq!(fit_middle("abc", 3), "abc");
        assert_eq!(fit_middle("abcd", 2), "a…");
        assert_eq!(fit_end("abc", 0), "");
    }

    #[test]
    fn without_samples_says_so() {
        assert_eq!(top(&Profile::default(), 20, 80), "no samples\n");
    }
}
