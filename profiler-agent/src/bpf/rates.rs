//! How often is sampled, changed while it runs.
//!
//! The timers of the CPUs go on as they are: to change them (PERF_EVENT_IOC_PERIOD) starts each anew with a whole period,
//! which loses what had gone by of the one before, half a period for each change and CPU. The program takes a share of
//! their firings instead, which is exact from the first firing on (see [`profiler_common::control`]). The timers
//! themselves change only where the highest rate does: with the configuration.

use aya::maps::{Array, HashMap, MapData};
use profiler_common::control::{self, EPOCHS, MAX_PERIOD_NS, ProcessRate, REPORT_EXECS, Rate, SHED_EVENTS, SWITCHES};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rates that services may have of their own.
const MAX_SERVICE_RATES: usize = control::RATES as usize - 1;

/// Nanoseconds between two firings.
#[must_use]
pub fn period_ns(hz: u32) -> u32 {
    MAX_PERIOD_NS / hz.max(1)
}

/// An entry of the map of processes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Own(ProcessRate);

// SAFETY: fixed-width integers without padding.
unsafe impl aya::Pod for Own {}

/// What is sampled how often.
#[derive(Clone, Debug)]
struct State {
    /// Of the timers as they run.
    timer_hz: u32,
    /// Of processes without a rate of their own, as configured.
    base_hz: u32,
    /// The same as it is now.
    hz: u32,
    /// Of the services that have one, as configured.
    services: Vec<u32>,
    epoch: u32,
}

impl State {
    /// What the timers have to keep up with.
    fn highest_hz(&self) -> u32 {
        self.services.iter().copied().fold(self.base_hz, u32::max)
    }

    /// The rate of all processes, then those of services, lowered alike.
    fn rates(&self) -> Vec<Rate> {
        let timer_ns = period_ns(self.timer_hz);
        let lowered = |hz: u32| {
            let ns = u64::from(period_ns(hz)) * u64::from(self.base_hz) / u64::from(self.hz.max(1));
            u32::try_from(ns).unwrap_or(MAX_PERIOD_NS).min(MAX_PERIOD_NS)
        };
        let periods = std::iter::once(period_ns(self.hz)).chain(self.services.iter().map(|&hz| lowered(hz)));
        periods.map(|ns| Rate { timer_ns, period_ns: ns.max(timer_ns), epoch: self.epoch }).collect()
    }
}

/// Sets rates and switches of the kernel program.
pub struct Rates {
    slots: Mutex<Array<MapData, u64>>,
    state: Mutex<State>,
    processes: Mutex<HashMap<MapData, u32, Own>>,
    reported: Mutex<Reported>,
}

/// Of which processes forks, exits, execs and mappings are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reported {
    /// Of all.
    #[default]
    All,
    /// Execs and mappings, of processes that had a sample.
    Sampled,
    /// Execs of processes that had a sample. For mappings the agent reads `/proc` once a second.
    None,
}

impl Reported {
    /// As in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Sampled => "of sampled processes",
            Self::None => "none",
        }
    }
}

impl Rates {
    /// Tells the program its first rates.
    pub(super) fn new(
        slots: Array<MapData, u64>,
        processes: HashMap<MapData, u32, Own>,
        hz: u32,
        mut services: Vec<u32>,
    ) -> std::io::Result<Self> {
        services.truncate(MAX_SERVICE_RATES);
        let mut state = State { timer_hz: hz, base_hz: hz, hz, services, epoch: 0 };
        state.timer_hz = state.highest_hz();
        let (slots, processes, reported) = (Mutex::new(slots), Mutex::new(processes), Mutex::default());
        let rates = Self { slots, state: Mutex::new(state.clone()), processes, reported };
        rates.tell(&state)?;
        Ok(rates)
    }

    fn tell(&self, state: &State) -> std::io::Result<()> {
        let rates = state.rates();
        let mut slots = lock(&self.slots);
        for (slot, rate) in rates.iter().enumerate() {
            slots.set(slot as u32, rate.pack(), 0).map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> std::io::Result<()> {
        let mut state = lock(&self.state);
        let mut changed = state.clone();
        change(&mut changed);
        changed.epoch = (changed.epoch + 1) % EPOCHS;
        self.tell(&changed)?;
        *state = changed;
        Ok(())
    }

    /// Samples at another rate from now on, at most as often as configured.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_hz(&self, hz: u32) -> std::io::Result<()> {
        self.change(|state| state.hz = hz.clamp(1, state.base_hz))
    }

    /// Another configured rate. The timers follow within a second.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_base_hz(&self, hz: u32) -> std::io::Result<()> {
        self.change(|state| (state.base_hz, state.hz) = (hz, hz))
    }

    /// How often is sampled now.
    #[must_use]
    pub fn hz(&self) -> u32 {
        lock(&self.state).hz
    }

    /// How often is sampled as configured.
    #[must_use]
    pub fn base_hz(&self) -> u32 {
        lock(&self.state).base_hz
    }

    /// Samples a process as often as configured for its service, or as often as all others.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_process(&self, tgid: u32, start_ns: u64, hz: Option<u32>) -> std::io::Result<()> {
        let slot = hz.and_then(|hz| lock(&self.state).services.iter().position(|of| *of == hz));
        let mut processes = lock(&self.processes);
        let Some(slot) = slot else {
            // Most processes have none to be removed.
            let _ = processes.remove(&tgid);
            return Ok(());
        };
        let own = Own(ProcessRate { start_ns, slot: slot as u32 + 1, padding: 0 });
        processes.insert(tgid, own, 0).map_err(std::io::Error::other)
    }

    /// How often the timers should fire, when that is another rate than theirs.
    pub(super) fn wanted_timer_hz(&self) -> Option<u32> {
        let state = lock(&self.state);
        Some(state.highest_hz()).filter(|hz| *hz != state.timer_hz)
    }

    /// How often the timers fire.
    pub(super) fn timer_hz(&self) -> u32 {
        lock(&self.state).timer_hz
    }

    /// The timers fire at another rate now.
    pub(super) fn timer_changed(&self, hz: u32) -> std::io::Result<()> {
        self.change(|state| state.timer_hz = hz)
    }

    /// Reports more or less from now on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn report(&self, reported: Reported) -> std::io::Result<()> {
        self.switch(SHED_EVENTS, reported != Reported::All)?;
        self.switch(REPORT_EXECS, reported == Reported::None)?;
        *lock(&self.reported) = reported;
        Ok(())
    }

    /// Switches something on or off, see [`profiler_common::control`].
    pub(super) fn switch(&self, switch: u64, on: bool) -> std::io::Result<()> {
        let mut slots = lock(&self.slots);
        let now = slots.get(&SWITCHES, 0).map_err(std::io::Error::other)?;
        let then = if on { now | switch } else { now & !switch };
        if then == now { Ok(()) } else { slots.set(SWITCHES, then, 0).map_err(std::io::Error::other) }
    }

    /// The slot of a rate that cgroups may have; that of all others where there is no room for another rate.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn slot(&self, hz: u32) -> std::io::Result<u32> {
        let place = |state: &State| state.services.iter().position(|of| *of == hz);
        let known = place(&lock(&self.state));
        let known = match known {
            Some(place) => Some(place),
            None if lock(&self.state).services.len() < MAX_SERVICE_RATES => {
                self.change(|state| state.services.push(hz))?;
                place(&lock(&self.state))
            }
            None => None,
        };
        Ok(known.map_or(0, |place| place as u32 + 1))
    }

    /// What is reported now.
    pub(super) fn reported(&self) -> Reported {
        *lock(&self.reported)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_lowered_with_the_others() {
        let state = State { timer_hz: 100, base_hz: 20, hz: 5, services: vec![100, 10, 1], epoch: 3 };
        let periods: Vec<u32> = state.rates().iter().map(|rate| rate.period_ns).collect();
        assert_eq!(periods, [200_000_000, 40_000_000, 400_000_000, 1_000_000_000]);
        assert!(state.rates().iter().all(|rate| (rate.timer_ns, rate.epoch) == (10_000_000, 3)));
        assert_eq!(state.highest_hz(), 100);
    }

    #[test]
    fn nothing_is_sampled_more_often_than_the_timers_fire() {
        let state = State { timer_hz: 19, base_hz: 99, hz: 99, services: Vec::new(), epoch: 0 };
        assert_eq!(state.rates(), [Rate { timer_ns: 52_631_578, period_ns: 52_631_578, epoch: 0 }]);
    }
}
