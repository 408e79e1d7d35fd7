//! Burns CPU in a closure, inlined into the function that it is written in, for the given number of seconds of CPU time.

use std::hint::black_box;

#[inline(never)]
fn work(rounds: u64) -> u64 {
    let step = |sum: u64| {
        black_box(
            sum.rotate_left(5) ^ 0x9e37,
        )
    };
    let mut sum = 1;
    for _ in 0..rounds {
        sum = step(sum);
    }
    sum
}

/// Seconds of CPU time so far.
fn used() -> f64 {
    let statistics = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(60.0);
    while used() < seconds {
        black_box(work(black_box(1_000_000)));
    }
}
