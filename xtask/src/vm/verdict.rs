//! What a guest's console says, and whether that is what we want.

mod pods;

use super::machine::MARKER;
use anyhow::{Context, Result};
use std::collections::HashMap;

/// The program that walks user stacks.
const WALK: &str = "walk_user";
/// Calls of `descend` in the workload, `DEPTH` of guest/chain.c.
const DEPTH: usize = 40;
/// Rounds of taking CPU 1 away in guest/init.sh.
const ROUNDS: usize = 3;
/// Ten seconds at 199 Hz are 1,990; an emulated machine whose host is busy loses ticks.
const MIN_SAMPLES: u64 = 100;
/// Of a second of CPU time.
const MIN_SHORT_SAMPLES: u64 = 10;
/// Share of samples that must be right: one may hit the moment of exec or exit.
const MIN_SHARE: f64 = 0.99;

/// What the guest printed between its markers.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    sections: HashMap<String, Section>,
    facts: Vec<String>,
}

/// Samples whose stack comes to `spin`, and those of them that show the whole chain.
struct Spinning {
    all: u64,
    whole: u64,
}

/// Output of one command and its exit status.
#[derive(Debug, Default)]
struct Section {
    lines: Vec<String>,
    status: Option<i32>,
}

impl Transcript {
    /// Reads a console; what is outside of markers is the kernel's or a shell's.
    pub(crate) fn parse(console: &[String]) -> Self {
        let mut transcript = Self::default();
        let mut open: Option<(String, Section)> = None;
        for line in console {
            let words: Vec<&str> = line.strip_prefix(MARKER).map(|rest| rest.split(' ').collect()).unwrap_or_default();
            match (&words[..], &mut open) {
                (["begin", name], _) => open = Some(((*name).to_owned(), Section::default())),
                (["end", name, status], Some((opened, section))) if name == opened => {
                    section.status = status.parse().ok();
                    transcript.sections.extend(open.take());
                }
                (["fact", rest @ ..], _) => transcript.facts.push(rest.join(" ")),
                (_, Some((_, section))) => section.lines.push(line.clone()),
                (_, None) => {}
            }
        }
        transcript
    }

    /// Output of a command that succeeded.
    fn section(&self, name: &str) -> Result<&[String]> {
        let section = self.sections.get(name).with_context(|| format!("{name}: not reached"))?;
        match section.status {
            Some(0) => Ok(&section.lines),
            status => anyhow::bail!("{name}: exit status {status:?}: {}", section.lines.join(" | ")),
        }
    }

    fn has(&self, fact: &str) -> Result<()> {
        anyhow::ensure!(self.facts.iter().any(|found| found == fact), "{fact}: did not happen");
        Ok(())
    }

    /// What follows these words in a fact.
    pub(crate) fn fact(&self, words: &str) -> Option<&str> {
        self.facts.iter().find_map(|fact| fact.strip_prefix(words)?.strip_prefix(' '))
    }

    /// For people to read: what the walk cost the verifier, samples, and how many stacks are whole.
    pub(crate) fn figures(&self) -> String {
        let counts = self.instructions().unwrap_or_default();
        let walk = counts.iter().find(|(name, _)| *name == WALK).map(|(_, count)| *count);
        let walk = walk.filter(|count| *count > 0).map_or("untold".to_owned(), |count| count.to_string());
        let stacks = ["stacks", "command-stacks"].map(|name| match self.spinning(name) {
            Ok(count) => format!("{} of {}", count.whole, count.all),
            Err(_) => "none".to_owned(),
        });
        format!("{WALK} {walk} instructions; whole stacks {}; {}", stacks.join(" and "), self.pod_figures())
    }

    /// Programs and the instructions verified; 0 where the kernel does not tell (before 5.16).
    fn instructions(&self) -> Result<Vec<(&str, u64)>> {
        let line = |line: &String| format!("verify: unexpected line {line:?}");
        let parse = |text| {
            let (name, count) = str::split_once(text, '\t')?;
            Some((name, count.parse().ok()?))
        };
        self.section("verify")?.iter().map(|text| parse(text).with_context(|| line(text))).collect()
    }

    /// Lines of the kernel's own trouble, for people to read: emulation alone causes some.
    pub(crate) fn kernel_trouble(&self) -> &[String] {
        self.sections.get("log").map_or(&[], |section| &section.lines)
    }

    /// Everything that is not as it must be.
    pub(crate) fn problems(&self, programs: usize) -> Vec<String> {
        let checks = [
            self.has("done"),
            self.doctor(),
            self.verified(programs),
            self.recording("record", MIN_SAMPLES),
            self.chains("stacks", MIN_SAMPLES),
            self.roots("stacks"),
            self.recording("command", MIN_SHORT_SAMPLES),
            self.chains("command-stacks", MIN_SHORT_SAMPLES),
            self.hotplug(),
            self.balance(),
        ];
        checks.into_iter().chain(self.pods()).filter_map(|check| Some(format!("{:#}", check.err()?))).collect()
    }

    fn doctor(&self) -> Result<()> {
        let text = self.section("doctor")?.join("\n");
        let report: serde_json::Value = serde_json::from_str(&text).context("doctor: no JSON")?;
        // What older kernels cannot do costs no sample: Landlock, and Debian's demand for CAP_SYS_ADMIN.
        let may_warn = ["confinement", "sampling"];
        let fine = |check: &&serde_json::Value| {
            let warns = check["status"] == "warn" && may_warn.iter().any(|name| check["name"] == *name);
            check["status"] != "ok" && !warns
        };
        let bad: Vec<String> = report["checks"]
            .as_array()
            .context("doctor: no checks")?
            .iter()
            .filter(fine)
            .map(ToString::to_string)
            .collect();
        anyhow::ensure!(report["ok"] == true && bad.is_empty(), "doctor: {}", bad.join(", "));
        Ok(())
    }

    fn verified(&self, programs: usize) -> Result<()> {
        let loaded = self.instructions()?.len();
        anyhow::ensure!(loaded == programs, "verify: {loaded} programs loaded, {programs} expected");
        Ok(())
    }

    /// The ledger at the end of a recording: everything taken was written.
    fn recording(&self, name: &str, least: u64) -> Result<()> {
        let lines = self.section(name)?;
        let ledger = lines
            .iter()
            .find(|line| line.contains(" samples taken = "))
            .with_context(|| format!("{name}: no ledger"))?;
        let numbers: Vec<u64> = ledger.split(' ').filter_map(|word| word.parse().ok()).collect();
        let (&taken, &exported) = numbers.first().zip(numbers.get(1)).with_context(|| format!("{name}: {ledger}"))?;
        anyhow::ensure!(
            taken == exported && taken >= least,
            "{name}: at least {least} samples wanted, all written: {ledger}"
        );
        Ok(())
    }

    /// Samples of stacks that come to `spin`.
    fn spinning(&self, name: &str) -> Result<Spinning> {
        let mut found = Spinning { all: 0, whole: 0 };
        for (frames, count) in self.stacks(name)?.iter().filter(|(frames, _)| frames.contains(&"spin")) {
            found.all += count;
            found.whole += if is_whole(frames) { *count } else { 0 };
        }
        Ok(found)
    }

    /// Stacks that come to `spin` show the chain as a whole.
    fn chains(&self, name: &str, least: u64) -> Result<()> {
        let Spinning { all, whole } = self.spinning(name)?;
        let enough = whole >= least && whole as f64 >= MIN_SHARE * all as f64;
        anyhow::ensure!(enough, "{name}: {whole} of {all} samples in spin show the whole chain, {least} wanted");
        Ok(())
    }

    /// Stacks of a process that runs reach its root. In exec and exit there is no stack to walk any more.
    fn roots(&self, name: &str) -> Result<()> {
        let (mut all, mut rooted) = (0, 0);
        for (frames, count) in self.stacks(name)? {
            all += count;
            rooted += if frames.first() == Some(&"_start") { count } else { 0 };
        }
        anyhow::ensure!(rooted as f64 >= MIN_SHARE * all as f64, "{name}: {rooted} of {all} samples reach _start");
        Ok(())
    }

    /// Collapsed stacks, root first, without the process's name; and their counts.
    fn stacks(&self, name: &str) -> Result<Vec<(Vec<&str>, u64)>> {
        let parse = |line: &'_ String| format!("{name}: no stack with a count: {line:?}");
        let split = |line| {
            let (stack, count) = str::rsplit_once(line, ' ')?;
            Some((stack.split(';').skip(1).collect(), count.parse().ok()?))
        };
        self.section(name)?.iter().map(|line| split(line).with_context(|| parse(line))).collect()
    }

    fn hotplug(&self) -> Result<()> {
        self.has("samples before")?;
        for round in 1..=ROUNDS {
            self.has(&format!("samples offline {round}"))?;
            self.has(&format!("samples online {round}"))?;
        }
        self.has("run ended 0")?;
        let (before, after) = (self.fact("descriptors before"), self.fact("descriptors after"));
        anyhow::ensure!(before.is_some() && before == after, "descriptors: {before:?} before and {after:?} after");
        Ok(())
    }

    /// `taken = exported + spooled + pending + dropped` in the metrics, nothing of it lost.
    fn balance(&self) -> Result<()> {
        let lines = self.section("metrics")?;
        let sum = |name: &str| -> u64 {
            let value = |line: &String| {
                let rest = line.strip_prefix(name)?;
                rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<u64>().ok())?
            };
            lines.iter().filter_map(value).sum()
        };
        let [taken, exported, spooled, pending, dropped] =
            ["taken_total", "exported_total", "spooled", "pending", "dropped_total"]
                .map(|name| sum(&format!("profiler_samples_{name}")));
        anyhow::ensure!(
            taken > 0 && taken == exported + spooled + pending + dropped && dropped == 0,
            "metrics: {taken} taken, {exported} exported, {spooled} spooled, {pending} pending, {dropped} dropped"
        );
        Ok(())
    }
}

/// `_start … main outer descend×DEPTH spin`, root first, whatever interrupted `spin`.
fn is_whole(frames: &[&str]) -> bool {
    let Some(main) = frames.iter().position(|frame| *frame == "main") else { return false };
    let chain = ["main", "outer"].into_iter().chain(std::iter::repeat_n("descend", DEPTH)).chain(["spin"]);
    frames.first() == Some(&"_start") && chain.clone().eq(frames[main..].iter().copied().take(DEPTH + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn console(text: &str) -> Transcript {
        Transcript::parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    /// Stacks of `whole` samples and one more that show the chain, and of some that lack its root.
    fn stacks(whole: u64, rootless: u64) -> Transcript {
        let descends = "descend;".repeat(DEPTH);
        let chain = format!("chain;_start;__libc_start_main;main;outer;{descends}spin");
        console(&format!(
            "@@ begin stacks\n{chain} {whole}\n{chain};asm_common_interrupt_[k] 1\nchain;outer;{descends}spin {rootless}\n\
             chain;_start;__libc_start_main;main;outer;descend 5\n@@ end stacks 0"
        ))
    }

    #[test]
    fn takes_output_between_markers_only() {
        let transcript =
            console("[ 1.0] booted\n@@ fact kernel 6.1.0\n@@ begin verify\nsample\t952\n@@ end verify 0\nrest");
        assert_eq!(transcript.fact("kernel"), Some("6.1.0"));
        assert_eq!(transcript.instructions().unwrap(), [("sample", 952)]);
        assert!(transcript.verified(1).is_ok() && transcript.verified(2).is_err());
    }

    #[test]
    fn commands_that_fail_and_those_not_reached_are_problems() {
        let transcript = console("@@ begin verify\nprofiler-agent: no\n@@ end verify 77\n@@ begin stacks\n");
        let problems = transcript.problems(4);
        assert!(problems.contains(&"verify: exit status Some(77): profiler-agent: no".to_owned()), "{problems:?}");
        assert!(problems.contains(&"stacks: not reached".to_owned()), "{problems:?}");
        assert!(problems.contains(&"done: did not happen".to_owned()), "{problems:?}");
    }

    #[test]
    fn a_chain_counts_when_it_is_whole() {
        assert!(stacks(999, 0).chains("stacks", 1000).is_ok());
        assert!(stacks(999, 0).roots("stacks").is_ok());
        let error = stacks(89, 10).chains("stacks", 1).unwrap_err().to_string();
        assert_eq!(error, "stacks: 90 of 100 samples in spin show the whole chain, 1 wanted");
        let error = stacks(89, 10).roots("stacks").unwrap_err().to_string();
        assert_eq!(error, "stacks: 95 of 105 samples reach _start");
        let figures = stacks(89, 10).figures();
        let pods = "pod excluded within ?, slower within ?";
        assert_eq!(figures, format!("walk_user untold instructions; whole stacks 90 of 100 and none; {pods}"));
        assert!(stacks(99, 0).chains("stacks", 101).is_err());
        assert!(console("@@ begin stacks\n@@ end stacks 0").chains("stacks", 1).is_err());
    }

    #[test]
    fn a_ledger_counts_when_everything_was_written() {
        let ledger =
            |line: &str| console(&format!("@@ begin record\n{line}\n@@ end record 0")).recording("record", 100);
        assert!(ledger("500 samples taken = 500 exported + 0 spooled + 0 pending + 0 dropped").is_ok());
        assert!(ledger("500 samples taken = 499 exported + 0 spooled + 0 pending + 1 dropped (1 ring_full)").is_err());
        assert!(ledger("5 samples taken = 5 exported + 0 spooled + 0 pending + 0 dropped").is_err());
        assert!(ledger("no samples").is_err());
    }

    #[test]
    fn metrics_must_balance_without_loss() {
        let metrics = |pending: u64, dropped: u64| {
            console(&format!(
                "@@ begin metrics\nprofiler_samples_taken_total 9\nprofiler_samples_exported_total 5\nprofiler_samples_spooled 0\n\
                 profiler_samples_pending {pending}\nprofiler_samples_dropped_total{{reason=\"tail_call\"}} {dropped}\n@@ end metrics 0"
            ))
            .balance()
        };
        assert!(metrics(4, 0).is_ok());
        assert!(metrics(3, 0).is_err());
        assert!(metrics(3, 1).is_err());
    }

    #[test]
    fn descriptors_must_not_grow() {
        let rounds: String = (1..=ROUNDS)
            .map(|round| format!("@@ fact samples offline {round}\n@@ fact samples online {round}\n"))
            .collect();
        let hotplug = |after: u64| {
            console(&format!(
                "@@ fact samples before\n@@ fact descriptors before 31\n{rounds}@@ fact descriptors after {after}\n@@ fact run ended 0"
            ))
            .hotplug()
        };
        assert!(hotplug(31).is_ok());
        assert!(hotplug(33).is_err());
    }
}
