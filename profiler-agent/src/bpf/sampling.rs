//! The events of every online CPU, followed as CPUs come and go.

use super::perf::{self, Clock};
use super::rates::Rates;
use super::sideband::Sideband;
use aya::programs::ProgramFd;
use std::collections::BTreeMap;
use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Sampling on all CPUs.
pub(super) struct Sampling {
    clock: Clock,
    rates: Arc<Rates>,
    program: ProgramFd,
    cpus: BTreeMap<u32, Cpu>,
    /// Whether the side bands are on.
    maps: bool,
}

struct Cpu {
    sampler: OwnedFd,
    sideband: Sideband,
    last_count: u64,
}

impl Sampling {
    /// Opens and starts the events of all online CPUs.
    pub(super) fn start(clock: Clock, rates: Arc<Rates>, program: ProgramFd) -> Result<Self> {
        let mut sampling = Self { clock, rates, program, cpus: BTreeMap::new(), maps: true };
        for cpu in online()? {
            let opened = sampling.open(cpu)?;
            sampling.cpus.insert(cpu, opened);
        }
        sampling.cpus.values().try_for_each(|cpu| perf::enable(&cpu.sampler))?;
        Ok(sampling)
    }

    fn open(&self, cpu: u32) -> Result<Cpu> {
        let sampler = perf::open_sampler(cpu, self.clock, self.rates.timer_hz())?;
        perf::attach(&sampler, self.program.as_fd())?;
        let sideband = Sideband::open(cpu)?;
        if !self.maps {
            perf::disable(sideband.event())?;
        }
        Ok(Cpu { sampler, sideband, last_count: 0 })
    }

    /// Whether the side bands report mappings from now on; true when that is a change.
    pub(super) fn report_mappings(&mut self, maps: bool) -> Result<bool> {
        if std::mem::replace(&mut self.maps, maps) == maps {
            return Ok(false);
        }
        let switch = if maps { perf::enable } else { perf::disable };
        self.cpus.values().try_for_each(|cpu| switch(cpu.sideband.event()))?;
        Ok(true)
    }

    /// Opens events of CPUs that came, closes those of CPUs that went. An event whose count stands still belongs
    /// to a CPU that went and came back: it is dead and opened anew.
    pub(super) fn follow(&mut self) -> Result<()> {
        self.follow_rate()?;
        let online = online()?;
        self.cpus.retain(|cpu, events| {
            let count = perf::count(&events.sampler).unwrap_or(0);
            let alive = count != events.last_count;
            events.last_count = count;
            alive && online.contains(cpu)
        });
        for cpu in online {
            if !self.cpus.contains_key(&cpu) {
                let opened = self.open(cpu)?;
                perf::enable(&opened.sampler)?;
                tracing::info!(cpu, "sampling a CPU that came online");
                self.cpus.insert(cpu, opened);
            }
        }
        Ok(())
    }

    /// Lets the timers fire at the highest rate that is configured.
    fn follow_rate(&self) -> Result<()> {
        let Some(hz) = self.rates.wanted_timer_hz() else { return Ok(()) };
        self.cpus.values().try_for_each(|cpu| perf::set_hz(&cpu.sampler, self.clock, hz))?;
        self.rates.timer_changed(hz)
    }

    /// Ends sampling; the side bands stay until their last records are read.
    pub(super) fn stop(&mut self) -> Vec<Sideband> {
        std::mem::take(&mut self.cpus).into_values().map(|cpu| cpu.sideband).collect()
    }

    pub(super) fn sidebands(&mut self) -> impl Iterator<Item = &mut Sideband> {
        self.cpus.values_mut().map(|cpu| &mut cpu.sideband)
    }

    pub(super) fn bytes(&self) -> usize {
        self.cpus.values().map(|cpu| cpu.sideband.bytes()).sum()
    }
}

/// Opens the sampling event of one CPU and closes it again.
pub fn try_sampling() -> Result<()> {
    let cpu = online()?.first().copied().unwrap_or(0);
    perf::open_sampler(cpu, Clock::CpuClock, 1).map(drop)
}

/// How many CPUs there may be: one more than the highest number.
pub(super) fn possible() -> u32 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|number| number.parse::<u32>().ok());
    last.map_or_else(|| online().map_or(1, |cpus| cpus.iter().max().copied().unwrap_or(0) + 1), |last| last + 1)
}

/// Numbers of the online CPUs.
pub(super) fn online() -> Result<Vec<u32>> {
    aya::util::online_cpus().map_err(|(what, error)| std::io::Error::new(error.kind(), format!("{what}: {error}")))
}
