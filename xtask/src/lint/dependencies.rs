//! What everything that cargo locked may be: licences, sources, bans, yanked versions and advisories, by cargo-deny.

use crate::places;
use crate::setup::cargo_tools;
use crate::shell::{self, step};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Manifests beside a lock file.
const MANIFESTS: &[&str] = &["Cargo.toml", "tests/fuzz/Cargo.toml"];
/// Where advisories are.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";
/// How long that may take to answer, in seconds.
const PATIENCE: &str = "20";
/// Stands for the database where it cannot be reached: yanked versions are in the registry's index, and are looked for
/// together with advisories. Nobody is asked for this address.
const STAND_IN: &str = "https://advisories.invalid/none";
/// cargo-deny takes no database without an advisory: one of no package.
const NO_ADVISORY: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2000-0001\"\npackage = \"none\"\ndate = \"2000-01-01\"\n\n\
                           [versions]\npatched = [\">= 0.0.0\"]\n```\n\n# Of no package\n\nNone.\n";

/// Every manifest is checked, whatever the others say.
pub(crate) fn check() -> Result<()> {
    let deny = Deny::new()?;
    let failed: Vec<&str> = MANIFESTS.iter().copied().filter(|manifest| !deny.passes(manifest)).collect();
    if !failed.is_empty() {
        bail!("cargo-deny refuses what {} locks", failed.join(" and "));
    }
    Ok(())
}

struct Deny {
    program: PathBuf,
    config: PathBuf,
    stand_in: Option<PathBuf>,
}

impl Deny {
    fn new() -> Result<Self> {
        let program = cargo_tools::install(cargo_tools::DENY)?;
        let folder = places::cache()?.join("advisories");
        fs::create_dir_all(&folder)?;
        let stand_in = match is_reachable() {
            true => None,
            false => {
                println!("advisories: not checked");
                Some(stand_in(&folder.join("stand-in"))?)
            }
        };
        let config = config(&folder, stand_in.is_some())?;
        Ok(Self { program, config, stand_in })
    }

    fn passes(&self, manifest: &str) -> bool {
        step(&format!("checking what {manifest} locks"));
        let mut deny = shell::command(&self.program, ["--locked", "--manifest-path", manifest, "--config"]);
        deny.arg(&self.config).args(["check", "--hide-inclusion-graph"]);
        deny.current_dir(places::workspace());
        if let Some(repository) = &self.stand_in {
            let rule = format!("url.file://{}.insteadOf", repository.display());
            deny.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", rule).env("GIT_CONFIG_VALUE_0", STAND_IN);
        }
        shell::run(&mut deny).inspect_err(|error| eprintln!("error: {error:#}")).is_ok()
    }
}

fn is_reachable() -> bool {
    let args = [PATIENCE, "git", "ls-remote", "--exit-code", DATABASE, "HEAD"];
    shell::output(shell::command("timeout", args).env("GIT_TERMINAL_PROMPT", "0")).is_ok()
}

/// The rules, with where advisories are kept.
fn config(folder: &Path, stand_in: bool) -> Result<PathBuf> {
    let rules = places::workspace().join("xtask/deny.toml");
    let rules = fs::read_to_string(&rules).with_context(|| format!("cannot read {}", rules.display()))?;
    let url = if stand_in { STAND_IN } else { DATABASE };
    let kept = folder.join("databases");
    let config = folder.join("deny.toml");
    places::write(&config, format!("{rules}db-urls = [{url:?}]\ndb-path = {kept:?}\n").as_bytes())?;
    Ok(config)
}

/// A repository with an advisory of no package.
fn stand_in(repository: &Path) -> Result<PathBuf> {
    places::fill(repository, |partial| {
        fs::create_dir_all(partial.join("crates/none"))?;
        fs::write(partial.join("crates/none/RUSTSEC-2000-0001.md"), NO_ADVISORY)?;
        let author = ["-c", "user.name=xtask", "-c", "user.email=xtask@localhost"];
        let steps: [&[&str]; 3] =
            [&["init", "--quiet", "--initial-branch", "main"], &["add", "."], &["commit", "--quiet", "-m", "none"]];
        for args in steps {
            shell::run(shell::command("git", author).args(args).current_dir(partial))?;
        }
        Ok(())
    })?;
    Ok(repository.to_owned())
}
