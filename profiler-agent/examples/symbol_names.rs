//! What naming costs: `symbol_names FILE` names addresses all over the file's code and prints how many, the microseconds
//! of CPU time until the first has its name, those for all others, those for all again, the KiB of memory that this
//! added to the process at most, how many have a name, and how many a source line.

mod figures;

use figures::{cpu_us, peak_kib};
use profiler_agent::process::{Executable, ExecutableKind};
use profiler_agent::symbolize::Names;
use profiler_agent::telemetry::metrics::Metrics;
use profiler_agent::unwind::cfi;
use profiler_common::unwind::Rule;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Addresses that are named at most.
const ADDRESSES: u64 = 10_000;
/// For debug info.
const DEBUG_INFO_TIME: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: symbol_names FILE");
        return ExitCode::from(2);
    };
    let executable = Executable::of_file(Path::new(&path)).ok();
    let addresses = executable.as_ref().map(addresses).unwrap_or_default();
    let (Some(executable), Some((first, others))) = (executable, addresses.split_first()) else {
        eprintln!("{}: no ELF file with unwind rows", path.display());
        return ExitCode::FAILURE;
    };
    let mut names = Names::new(Arc::<Metrics>::default(), DEBUG_INFO_TIME);
    let (started, before) = (cpu_us(), peak_kib());
    names.find(&executable, &[*first]);
    let first_us = cpu_us() - started;
    names.find(&executable, others);
    let all_us = cpu_us() - started - first_us;
    let added_kib = peak_kib() - before;
    let started = cpu_us();
    let found = names.find(&executable, &addresses);
    let known_us = cpu_us() - started;
    let named = found.iter().filter(|sites| !sites[0].name.contains("+0x")).count();
    let lined = found.iter().filter(|sites| sites[0].line > 0).count();
    println!("{} {first_us} {all_us} {known_us} {added_kib} {named} {lined}", addresses.len());
    ExitCode::SUCCESS
}

/// Addresses all over the code.
fn addresses(executable: &Executable) -> Vec<u64> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else { return Vec::new() };
    let Ok(table) = cfi::build(file) else { return Vec::new() };
    let bytes = (table.page_count() as u64) << table.page_bits();
    let places = (0..ADDRESSES).map(|index| table.base() + index * bytes / ADDRESSES);
    places.filter(|&address| table.rule(address) != Rule::NONE).collect()
}
