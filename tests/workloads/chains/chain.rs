//! chain SECONDS DEPTH: burns below main > first > second > third > first > … > closure > work, DEPTH functions deep, and
//! in a destructor that a panic calls. Prints its own CPU clock as JSON at the end.

use std::arch::asm;
use std::hint::black_box;
use std::panic;

const CLOCK_THREAD_CPUTIME_ID: i32 = 3;

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, now: *mut Timespec) -> i32;
}

fn cpu() -> f64 {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the clock exists and writes one timespec.
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.seconds as f64 + now.nanoseconds as f64 / 1e9
}

/// Each its own body and a name that is not mangled.
macro_rules! burner {
    ($name:ident, $salt:literal) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        fn $name(rounds: u64) -> u64 {
            let (mut state, mut round) = ($salt, 0);
            // Nothing here is a call, optimized or not.
            while round < rounds {
                state = (state & 0xffff) * 31 + $salt;
                // SAFETY: no instruction.
                unsafe { asm!("/* {0} */", inout(reg) state, options(nomem, nostack, preserves_flags)) };
                round += 1;
            }
            state
        }
    };
}

burner!(alpha, 1);
burner!(beta, 2);
burner!(gamma_, 3);

/// Seconds in alpha, beta and gamma_, and the state of the pseudo-random rounds: work that repeats every millisecond
/// falls into step with a sampler that fires every millisecond.
struct Clock {
    shares: [f64; 3],
    state: u64,
    sum: u64,
}

impl Clock {
    fn varied(&mut self, rounds: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        rounds * (1 + (self.state >> 60))
    }

    #[inline(never)]
    fn burn(&mut self, index: usize, burner: fn(u64) -> u64, rounds: u64) {
        let rounds = self.varied(rounds);
        let start = cpu();
        self.sum += black_box(burner)(rounds);
        self.shares[index] += cpu() - start;
    }
}

/// Burns when a panic drops it.
struct Guard<'a>(&'a mut Clock);

impl Drop for Guard<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        self.0.burn(2, gamma_, 4000);
        self.0.sum += 1;
    }
}

#[inline(never)]
fn guarded(clock: &mut Clock, depth: usize) {
    let guard = Guard(clock);
    if black_box(depth) > 0 {
        panic::resume_unwind(Box::new(depth));
    }
    guard.0.sum += 1;
}

#[inline(never)]
fn work(clock: &mut Clock) {
    clock.burn(0, alpha, 10_000);
    clock.burn(1, beta, 6_000);
    clock.sum += 1;
}

trait Step {
    fn step(&self, clock: &mut Clock, depth: usize);
}

struct Third;

impl Step for Third {
    #[inline(never)]
    fn step(&self, clock: &mut Clock, depth: usize) {
        let local = black_box([depth; 20]);
        go_on(first, clock, depth);
        clock.sum += local[3] as u64;
    }
}

/// Down to the closure, which is called through a table.
#[inline(always)]
fn go_on(next: fn(&mut Clock, usize), clock: &mut Clock, depth: usize) {
    let last: &dyn Fn(&mut Clock) = &|clock| {
        work(clock);
        clock.sum += 1;
    };
    if depth > 1 { next(clock, depth - 1) } else { black_box(last)(clock) }
    clock.sum += 1;
}

#[inline(never)]
fn first(clock: &mut Clock, depth: usize) {
    go_on(second, clock, depth);
    clock.sum += 1;
}

#[inline(never)]
fn second(clock: &mut Clock, depth: usize) {
    go_on(third, clock, depth);
    clock.sum += 1;
}

#[inline(never)]
fn third(clock: &mut Clock, depth: usize) {
    let step: &dyn Step = black_box(&Third);
    step.step(clock, depth);
    clock.sum += 1;
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().and_then(|text| text.parse::<f64>().ok()).expect("SECONDS DEPTH");
    let (seconds, depth) = (next(), next() as usize);
    let mut clock = Clock { shares: [0.0; 3], state: 1, sum: 0 };
    while cpu() < seconds {
        first(&mut clock, depth);
        let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| guarded(&mut clock, depth)));
        clock.sum += u64::from(caught.is_err());
    }
    let [alpha, beta, gamma] = clock.shares;
    println!("{{\"alpha\": {alpha:.6}, \"beta\": {beta:.6}, \"gamma_\": {gamma:.6}, \"cpu_seconds\": {:.6}}}", cpu());
}
