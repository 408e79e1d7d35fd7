//! The kernel side: `sampler` (perf event) > `walk` (chain of tail calls) > `emit` =ring buffer=> agent,
//! and `process_events` (raw tracepoints) into the same ring buffer.
//!
//! Invariants: an entry is one line; every firing on an allowed task adds to exactly one outcome counter;
//! nothing here uses the kernel's helper for user stacks.
#![no_std]
#![no_main]

mod control;
mod copy;
mod counters;
mod emit;
mod filter;
mod maps;
mod process_events;
mod read;
mod registers;
mod rules;
mod sampler;
mod tables;
mod task;
mod walk;

use aya_ebpf::{
    macros::{perf_event, raw_tracepoint},
    programs::{PerfEventContext, RawTracePointContext},
};

/// Fires on every CPU at the sampling frequency.
#[perf_event]
pub fn sample(ctx: PerfEventContext) -> u32 {
    sampler::sample(&ctx).unwrap_or(0)
}

/// One link of the chain that walks the user stack.
#[perf_event]
pub fn walk_user(ctx: PerfEventContext) -> u32 {
    walk::walk(&ctx).unwrap_or(0)
}

/// A task was forked.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    process_events::timed(|| process_events::fork(&ctx))
}

/// A process runs a new executable.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    process_events::timed(|| process_events::exec(&ctx))
}

/// A task ended.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(ctx: RawTracePointContext) -> i32 {
    process_events::timed(|| process_events::exit(&ctx))
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
