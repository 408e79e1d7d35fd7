//! The report as text.

use super::code::AllCode;
use super::table;
use crate::output::{fit_middle, visible};
use crate::process::Living;
use std::fmt::Write as _;

/// Columns of the titles.
const TITLE: usize = 13;

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, in one line.
    pub found: String,
    /// What mends it; empty when nothing is known to.
    pub fix: String,
}

impl Finding {
    pub(super) fn new(found: String, fix: &str) -> Self {
        Self { found, fix: fix.to_owned() }
    }
}

/// All that is known of a process.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who it is: title and text of each line.
    pub(super) process: Vec<(&'static str, String)>,
    /// What it maps.
    pub(super) code: AllCode,
    /// What runs it.
    pub(super) runtime: Vec<String>,
    /// Why stacks would be incomplete.
    pub(super) stacks: Vec<Finding>,
    /// Why names would be missing.
    pub(super) names: Vec<Finding>,
}

/// A thread of the kernel has nothing of its own.
pub(super) fn of_kernel_thread(living: &Living) -> Report {
    Report {
        process: vec![
            ("pid", living.pid.to_string()),
            ("name", living.name.clone()),
            ("service", "kernel, as all threads of the kernel".to_owned()),
        ],
        code: AllCode::default(),
        runtime: vec!["a thread of the kernel: its stacks are the kernel's, and so are its names".to_owned()],
        stacks: Vec::new(),
        names: Vec::new(),
    }
}

impl Report {
    /// Whether stacks of the process should be whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.stacks.is_empty()
    }

    /// Sections with titles; no line of a process's own text is wider than `width`.
    #[must_use]
    pub fn text(&self, width: Option<usize>) -> String {
        let mut text = "process\n".to_owned();
        for (title, line) in &self.process {
            let line = fit(&visible(line), width.map(|width| width.saturating_sub(TITLE + 4)));
            let _ = writeln!(text, "  {title:TITLE$}  {line}");
        }
        if !self.code.files.is_empty() {
            text += "\nfiles\n";
            for line in table::lines(&self.code.files, width.map(|width| width.saturating_sub(2))) {
                let _ = writeln!(text, "  {line}");
            }
        }
        if self.code.left_out > 0 {
            let _ = writeln!(text, "  and {} more", self.code.left_out);
        }
        text += "\nruntime\n";
        for line in &self.runtime {
            let _ = writeln!(text, "  {line}");
        }
        push(&mut text, "why stacks would be incomplete", &self.stacks, "stacks of this process should be whole");
        push(&mut text, "why names would be missing", &self.names, "all functions should have their names");
        text
    }
}

fn push(text: &mut String, title: &str, findings: &[Finding], nothing: &str) {
    let _ = writeln!(text, "\n{title}");
    if findings.is_empty() {
        let _ = writeln!(text, "  nothing: {nothing}");
    }
    for finding in findings {
        let _ = writeln!(text, "  {}", finding.found);
        if !finding.fix.is_empty() {
            let _ = writeln!(text, "    fix: {}", finding.fix);
        }
    }
}

/// The text as it is, or in so many columns.
pub(super) fn fit(text: &str, width: Option<usize>) -> String {
    width.map_or_else(|| text.to_owned(), |width| fit_middle(text, width))
}
