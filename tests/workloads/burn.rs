//! The Rust twin of burn.c: alpha, beta and gamma in the proportions 50 : 30 : 20 under main > work, until SIGTERM or
//! for the given seconds. The shares are those of its own thread CPU clock, printed as JSON at the end.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);
const SIGTERM: i32 = 15;
const CLOCK_THREAD_CPUTIME_ID: i32 = 3;

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, now: *mut Timespec) -> i32;
    fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn on_term(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

fn cpu() -> f64 {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the clock exists and writes one timespec.
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.seconds as f64 + now.nanoseconds as f64 / 1e9
}

#[inline(never)]
fn alpha(rounds: u64) {
    for round in 0..rounds {
        black_box(round * 31 + 1);
    }
}

#[inline(never)]
fn beta(rounds: u64) {
    for round in 0..rounds {
        black_box(round * 31 + 2);
    }
}

#[inline(never)]
fn gamma(rounds: u64) {
    for round in 0..rounds {
        black_box(round * 31 + 3);
    }
}

/// Pseudo-random: work that repeats every millisecond falls into step with a sampler that fires every millisecond.
fn varied(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    10_000 * (1 + (*state >> 60))
}

#[inline(never)]
fn work(shares: &mut [f64; 3], rounds: u64) {
    let start = cpu();
    alpha(5 * rounds);
    let after_alpha = cpu();
    beta(3 * rounds);
    let after_beta = cpu();
    gamma(2 * rounds);
    let end = cpu();
    shares[0] += after_alpha - start;
    shares[1] += after_beta - after_alpha;
    shares[2] += end - after_beta;
}

fn main() {
    // SAFETY: the handler only stores an atomic.
    unsafe { signal(SIGTERM, on_term) };
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1e9);
    let (mut shares, mut state) = ([0.0; 3], 1);
    while !STOP.load(Ordering::Relaxed) && cpu() < seconds {
        work(black_box(&mut shares), varied(&mut state));
    }
    let [alpha, beta, gamma] = shares;
    let total = cpu();
    println!("{{\"alpha\": {alpha:.6}, \"beta\": {beta:.6}, \"gamma\": {gamma:.6}, \"cpu_seconds\": {total:.6}}}");
}
