//! Burns CPU in a closure, inlined into the function that it is written in, for the given number of seconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

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

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(60.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        black_box(work(black_box(1_000_000)));
    }
}
