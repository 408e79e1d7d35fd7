//! What building a file's unwind table costs: `unwind_rows FILE` prints its rows, its bytes, the microseconds of CPU
//! time that one build takes, and the KiB of memory that the first build added to the process at most.

mod figures;

use figures::{cpu_us, peak_kib};
use profiler_agent::unwind::cfi;
use std::fs::File;
use std::process::ExitCode;

/// At least as long is measured.
const MEASURED_US: u64 = 500_000;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: unwind_rows FILE");
        return ExitCode::from(2);
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => return failed(&path, &error),
    };
    let before = peak_kib();
    let table = match cfi::build(&file) {
        Ok(table) => table,
        Err(error) => return failed(&path, &error),
    };
    let added_kib = peak_kib() - before;
    let (started, mut builds) = (cpu_us(), 0);
    while cpu_us() - started < MEASURED_US {
        builds += u64::from(cfi::build(&file).is_ok());
    }
    let build_us = (cpu_us() - started) / builds.max(1);
    println!("{} {} {build_us} {added_kib}", table.rows(), table.bytes());
    ExitCode::SUCCESS
}

fn failed(path: &std::ffi::OsStr, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{}: {error}", path.display());
    ExitCode::FAILURE
}
