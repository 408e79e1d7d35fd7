//! What came of the checks: what was done, what could not be, what is wrong.

use anyhow::{Result, bail};
use std::collections::BTreeSet;

/// Of all checks.
#[derive(Default)]
pub(super) struct Outcome {
    objects: usize,
    checks: usize,
    not_rendered: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Outcome {
    /// Objects that were rendered and are valid, or why not.
    pub(super) fn rendered(&mut self, what: &str, objects: Result<usize>) {
        if let Ok(objects) = objects {
            println!("{what}: {objects} objects");
            self.objects += objects;
        }
        self.check(what, objects.map(drop));
    }

    /// What no check can say anything of.
    pub(super) fn not_rendered(&mut self, what: String) {
        self.not_rendered.insert(what);
    }

    /// A check that is a condition.
    pub(super) fn expect(&mut self, is_so: bool, wrong: impl FnOnce() -> String) {
        self.checks += 1;
        if !is_so {
            self.wrong(wrong());
        }
    }

    /// A check that is an action.
    pub(super) fn check(&mut self, what: &str, result: Result<()>) {
        self.checks += 1;
        if let Err(error) = result {
            self.wrong(format!("{what}: {error:#}"));
        }
    }

    fn wrong(&mut self, what: String) {
        eprintln!("error: {what}");
        self.wrong.push(what);
    }

    /// Says what could not be rendered, and fails when something is wrong.
    pub(super) fn finish(self) -> Result<()> {
        for what in &self.not_rendered {
            println!("not rendered: {what}");
        }
        println!("deploy: {} objects valid, {} checks, {} wrong", self.objects, self.checks, self.wrong.len());
        match self.wrong.as_slice() {
            [] => Ok(()),
            [first, ..] => bail!("{} checks of deploy/ failed, the first: {first}", self.wrong.len()),
        }
    }
}
