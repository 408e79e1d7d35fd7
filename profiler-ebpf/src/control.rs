//! What the agent changes while the programs run.

use crate::{
    maps::{CONTROLS, RATES, setting},
    rules,
    task::Task,
};
use profiler_common::{
    config::PROCESS_RATES,
    control::{EXCLUDED, Rate, SWITCHES, Turn},
    record::Scratch,
};

/// The rate of a firing that is to be sampled; none where its turn has not come.
#[inline(always)]
pub fn rate(scratch: *mut Scratch, task: Task, tgid: u32) -> Option<Rate> {
    // SAFETY: this CPU's map value, written by nobody else while the program runs.
    let turn = unsafe {
        let turn = Turn((*scratch).turn).next();
        (*scratch).turn = turn.0;
        turn
    };
    let said = rules::of(task);
    if said == EXCLUDED {
        return None;
    }
    let own = if setting!(flags) & PROCESS_RATES == 0 { 0 } else { own_slot(task, tgid) };
    let slot = if own > 0 { own } else { said };
    let rate = Rate::unpack(value(slot));
    if rate.takes(turn) { Some(rate) } else { None }
}

/// The slot of a process's own rate, else that of all.
#[inline(always)]
fn own_slot(task: Task, tgid: u32) -> u32 {
    // SAFETY: the agent replaces entries as a whole.
    let Some(own) = (unsafe { RATES.get(&tgid) }) else { return 0 };
    if Some(own.start_ns) == task.process_start_ns() { own.slot } else { 0 }
}

/// Whether something is switched on.
#[inline(always)]
pub fn switched(switch: u64) -> bool {
    value(SWITCHES) & switch != 0
}

#[inline(always)]
fn value(slot: u32) -> u64 {
    // SAFETY: a word of an array, read at once; volatile as the agent writes it meanwhile.
    CONTROLS.get_ptr(slot).map_or(0, |value| unsafe { value.read_volatile() })
}
