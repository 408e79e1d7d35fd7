//! Findings, for people and for programs.

use serde::Serialize;
use std::fmt::Write as _;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Fine.
    Ok,
    /// `run` works, but shows less.
    Warn,
    /// `run` would not work.
    Fail,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// One line.
    pub found: String,
    /// Lines of which any one mends it; empty when it passes.
    #[serde(rename = "fix")]
    pub fixes: Vec<String>,
}

impl Check {
    pub(super) fn pass(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), fixes: Vec::new() }
    }

    pub(super) fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, found: found.into(), fixes: vec![fix.into()] }
    }

    pub(super) fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, found: found.into(), fixes: vec![fix.into()] }
    }
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub Vec<Check>);

impl Report {
    /// Whether nothing fails.
    #[must_use]
    pub fn run_would_work(&self) -> bool {
        self.0.iter().all(|check| check.status != Status::Fail)
    }

    /// `{"ok": …, "checks": [{"name", "status", "found", "fix"}]}`.
    #[must_use]
    pub fn json(&self) -> String {
        let value = serde_json::json!({ "ok": self.run_would_work(), "checks": self.0 });
        format!("{value:#}\n")
    }

    /// A line per finding, the lines that mend it below.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.0 {
            let status = match check.status {
                Status::Ok => "ok",
                Status::Warn => "warn",
                Status::Fail => "FAIL",
            };
            let _ = writeln!(text, "{status:4}  {:16}  {}", check.name, check.found);
            for (index, fix) in check.fixes.iter().enumerate() {
                let _ = writeln!(text, "      {:16}  {} {fix}", "", if index == 0 { "fix:" } else { " or:" });
            }
        }
        let end = if self.run_would_work() { "`run` would work here" } else { "`run` would not work here" };
        let _ = writeln!(text, "\n{end}");
        text
    }
}
