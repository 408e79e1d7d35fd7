//! `bench symbolize`: what names of large files cost.

use super::unwind::{example, files};
use crate::shell;
use anyhow::{Context, Result};

/// Prints a line for each file.
pub(super) fn symbolize() -> Result<()> {
    let example = example("symbol_names")?;
    println!("addresses  first ms  us a name  us a known name  peak MiB  named %  with lines %  file");
    for file in files()? {
        let figures = shell::output(shell::command(&example, [&file]).current_dir("/"))?;
        println!("{}  {}", line(&figures).context("unexpected output of symbol_names")?, file.display());
    }
    Ok(())
}

fn line(figures: &str) -> Option<String> {
    let figures: Vec<f64> = figures.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[addresses, first_us, all_us, known_us, added_kib, named, lined] = figures.as_slice() else { return None };
    let percent = |count: f64| count / addresses * 100.0;
    Some(format!(
        "{addresses:>9}  {:>8.1}  {:>9.2}  {:>15.2}  {:>8.1}  {:>7.1}  {:>12.1}",
        first_us / 1000.0,
        all_us / addresses,
        known_us / addresses,
        added_kib / 1024.0,
        percent(named),
        percent(lined),
    ))
}
