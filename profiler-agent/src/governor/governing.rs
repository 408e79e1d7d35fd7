//! What is done to keep budgets.

use super::budgets::Budgets;
use super::cpu::{CpuGovernor, Move};
use super::ladder::{Ladder, Level};
use super::memory::MemoryGovernor;
use super::pressure::Pressure;
use super::usage::Usage;
use crate::telemetry::metrics::{Metric, Metrics};
use std::sync::Arc;

/// The highest levels, of which a recording of seconds still has enough samples.
const VARYING_STEPS: usize = 8;

/// What a level is set with.
pub trait Levers {
    /// Samples so often from now on, and reports process events or not.
    ///
    /// # Errors
    /// The kernel refuses.
    fn set(&self, level: Level) -> std::io::Result<()>;
}

/// Keeps budgets.
#[derive(Debug)]
pub struct Governing {
    budgets: Budgets,
    cpu: Option<CpuGovernor>,
    memory: Option<MemoryGovernor>,
    ladder: Ladder,
    step: usize,
    pressure: Pressure,
    metrics: Arc<Metrics>,
    /// Whether it was said that nothing is left to do.
    said_lowest: bool,
}

impl Governing {
    /// Begins at the configured frequency.
    #[must_use]
    pub fn new(budgets: Budgets, hz: u32, pressure: Pressure, metrics: Arc<Metrics>) -> Self {
        let governing = Self {
            budgets,
            cpu: budgets.cpu.map(CpuGovernor::new),
            memory: budgets.memory_bytes.map(MemoryGovernor::new),
            ladder: Ladder::new(hz),
            step: 0,
            pressure,
            metrics,
            said_lowest: false,
        };
        for (metric, budget) in
            [(Metric::CpuBudget, budgets.cpu), (Metric::MemoryBudget, budgets.memory_bytes.map(|bytes| bytes as f64))]
        {
            budget.into_iter().for_each(|budget| governing.metrics.set(metric, "", budget));
        }
        for reason in ["cpu", "memory", "room"] {
            // There from the start, and never less than before.
            let changes = governing.metrics.get(Metric::GovernorChanges, reason);
            governing.metrics.set(Metric::GovernorChanges, reason, changes);
        }
        governing.metrics.set(Metric::Frequency, "", f64::from(hz));
        governing.metrics.set(Metric::FrequencyConfigured, "", f64::from(hz));
        governing
    }

    /// With other budgets, or from another configured frequency: as at the start.
    pub fn begin_anew(&mut self, budgets: Budgets, hz: u32) {
        *self = Self::new(budgets, hz, self.pressure.clone(), Arc::clone(&self.metrics));
    }

    /// The level now.
    #[must_use]
    pub fn level(&self) -> Level {
        self.ladder.level(self.step)
    }

    /// Takes note of what was used, and sets another level where a budget asks for it.
    pub fn take(&mut self, usage: Usage, levers: &impl Levers) {
        if self.budgets.varies {
            // By leaps that go up and down.
            let step = (self.step + 5) % VARYING_STEPS;
            return self.go(step, "room", usage, levers);
        }
        let rise = self.step.checked_sub(1).map(|above| {
            let (above, now) = (self.ladder.level(above), self.level());
            f64::from(above.hz) / f64::from(now.hz)
        });
        let cpu = self.cpu.as_mut().map_or(Move::Stay, |cpu| cpu.decide(usage.seconds, usage.cpu, rise));
        let memory = self.memory.as_mut().map_or(Move::Stay, |memory| memory.decide(usage.seconds, usage.memory_bytes));
        self.report(usage);
        self.shrink(usage);
        let holds = self.memory.as_ref().is_some_and(MemoryGovernor::holds);
        match (cpu, memory) {
            (Move::Down(steps), _) => self.lower(steps, "cpu", usage, levers),
            (_, Move::Down(steps)) => self.lower(steps, "memory", usage, levers),
            (Move::Up, _) if !holds => self.raise(usage, levers),
            (Move::Stay, Move::Up) if self.cpu.is_none() => self.raise(usage, levers),
            _ => {}
        }
    }

    fn report(&self, usage: Usage) {
        let used = self.cpu.as_ref().map_or(usage.cpu, CpuGovernor::used);
        self.metrics.set(Metric::CpuUsed, "", used);
        self.metrics.set(Metric::MemoryUsed, "", usage.memory_bytes as f64);
    }

    /// Caches give back what memory is short of.
    fn shrink(&self, usage: Usage) {
        let Some(memory) = &self.memory else { return };
        let (before, after) = (self.pressure.halvings(), memory.halvings());
        if before == after {
            return;
        }
        self.pressure.set(after);
        let (used, budget) = (usage.memory_bytes, self.budgets.memory_bytes.unwrap_or(0));
        let change = if after > before { "caches are halved: memory budget" } else { "caches may grow again" };
        tracing::info!(halvings = after, used_bytes = used, budget_bytes = budget, "{change}");
        self.metrics.add(Metric::GovernorChanges, if after > before { "memory" } else { "room" }, 1);
    }

    fn lower(&mut self, steps: usize, reason: &'static str, usage: Usage, levers: &impl Levers) {
        if self.step >= self.ladder.lowest() {
            if !std::mem::replace(&mut self.said_lowest, true) {
                self.log(reason, usage, self.level(), "the budget cannot be kept: nothing is left to be lowered");
            }
            return;
        }
        self.go((self.step + steps).min(self.ladder.lowest()), reason, usage, levers);
    }

    fn raise(&mut self, usage: Usage, levers: &impl Levers) {
        self.said_lowest = false;
        if let Some(above) = self.step.checked_sub(1) {
            self.go(above, "room", usage, levers);
        }
    }

    fn go(&mut self, step: usize, reason: &'static str, usage: Usage, levers: &impl Levers) {
        let to = self.ladder.level(step);
        if let Err(error) = levers.set(to) {
            return tracing::error!(%error, "cannot change the frequency");
        }
        self.log(reason, usage, to, if reason == "room" { "samples more often" } else { "samples less often" });
        self.step = step;
        self.metrics.add(Metric::GovernorChanges, reason, 1);
        self.metrics.set(Metric::Frequency, "", f64::from(to.hz));
    }

    fn log(&self, reason: &'static str, usage: Usage, to: Level, what: &'static str) {
        let from = self.level();
        let (from_hz, to_hz, events) = (from.hz, to.hz, to.events.name());
        if reason == "memory" {
            let (used, budget) = (usage.memory_bytes, self.budgets.memory_bytes.unwrap_or(0));
            return tracing::warn!(reason, from_hz, to_hz, events, used_bytes = used, budget_bytes = budget, "{what}");
        }
        let used = format!("{:.3}%", 100.0 * usage.cpu);
        let budget = format!("{:.3}%", 100.0 * self.budgets.cpu.unwrap_or(0.0));
        if reason == "room" {
            tracing::info!(reason, from_hz, to_hz, events, used, budget, "{what}");
        } else {
            tracing::warn!(reason, from_hz, to_hz, events, used, budget, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Reported;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Told(RefCell<Vec<Level>>);

    impl Levers for Told {
        fn set(&self, level: Level) -> std::io::Result<()> {
            self.0.borrow_mut().push(level);
            Ok(())
        }
    }

    fn usage(cpu: f64, memory_bytes: u64) -> Usage {
        Usage { seconds: 1.0, cpu, memory_bytes }
    }

    fn governing(cpu: Option<f64>, memory_bytes: Option<u64>) -> (Governing, Arc<Metrics>, Pressure) {
        let (metrics, pressure) = (Arc::<Metrics>::default(), Pressure::default());
        let budgets = Budgets { cpu, memory_bytes, varies: false };
        (Governing::new(budgets, 19, pressure.clone(), Arc::clone(&metrics)), metrics, pressure)
    }

    #[test]
    fn lowers_and_raises_and_says_so() {
        let (mut governing, metrics, _) = governing(Some(0.01), None);
        let told = Told::default();
        (0..60).for_each(|_| governing.take(usage(0.05, 0), &told));
        assert_eq!(told.0.borrow().last(), Some(&Level { hz: 1, events: Reported::None }));
        assert_eq!(metrics.get(Metric::Frequency, ""), 1.0);
        assert_eq!(metrics.get(Metric::CpuBudget, ""), 0.01);
        let downs = metrics.get(Metric::GovernorChanges, "cpu");
        assert_eq!(downs, told.0.borrow().len() as f64);
        (0..1000).for_each(|_| governing.take(usage(0.000_1, 0), &told));
        assert_eq!(governing.level(), Level { hz: 19, events: Reported::All });
        assert_eq!(metrics.get(Metric::GovernorChanges, "room"), 9.0);
        governing.begin_anew(Budgets::default(), 99);
        assert_eq!(governing.level(), Level { hz: 99, events: Reported::All });
        assert_eq!(metrics.get(Metric::GovernorChanges, "room"), 9.0);
    }

    #[test]
    fn memory_shrinks_caches_first() {
        let (mut governing, metrics, pressure) = governing(None, Some(100));
        let told = Told::default();
        (0..8).for_each(|_| governing.take(usage(0.5, 101), &told));
        assert_eq!((pressure.halvings(), told.0.borrow().len()), (4, 0));
        (0..2).for_each(|_| governing.take(usage(0.5, 101), &told));
        assert_eq!(told.0.borrow().as_slice(), [Level { hz: 13, events: Reported::All }]);
        assert_eq!(metrics.get(Metric::GovernorChanges, "memory"), 5.0);
        (0..61).for_each(|_| governing.take(usage(0.5, 50), &told));
        assert_eq!(governing.level().hz, 19);
    }
}
