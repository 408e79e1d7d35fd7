//! What the kernel programs do with the tasks of some cgroups.

use super::rates::Rates;
use aya::maps::{HashMap, MapData};
use profiler_common::control::{CGROUP_RULES, EXCLUDED};
use profiler_common::limits::MAX_CGROUP_RULES;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of a task by the innermost cgroup around it that has a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// It is not sampled, and its forks and exits are not told.
    Excluded,
    /// It is sampled like everything else.
    Sampled,
    /// It is sampled so often a second.
    Frequency(u32),
}

/// Rules by cgroup.
pub struct CgroupRules {
    state: Mutex<State>,
    rates: Arc<Rates>,
}

struct State {
    map: HashMap<MapData, u64, u32>,
    told: BTreeMap<u64, u32>,
}

impl CgroupRules {
    pub(super) fn new(map: HashMap<MapData, u64, u32>, rates: Arc<Rates>) -> Self {
        Self { state: Mutex::new(State { map, told: BTreeMap::new() }), rates }
    }

    /// These rules and no others hold from now on, by the ids of cgroups in the hierarchy that carries containers; how many
    /// of them there was no room for.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set(&self, wanted: &BTreeMap<u64, Rule>) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { map, told } = &mut *state;
        let mut values = BTreeMap::new();
        for (&cgroup, &rule) in wanted.iter().take(MAX_CGROUP_RULES as usize) {
            values.insert(cgroup, self.value(rule)?);
        }
        let gone: Vec<u64> = told.keys().filter(|cgroup| !values.contains_key(cgroup)).copied().collect();
        for cgroup in gone {
            map.remove(&cgroup).map_err(io::Error::other)?;
            told.remove(&cgroup);
        }
        for (&cgroup, &value) in &values {
            if told.get(&cgroup) != Some(&value) {
                map.insert(cgroup, value, 0).map_err(io::Error::other)?;
                told.insert(cgroup, value);
            }
        }
        self.rates.switch(CGROUP_RULES, !told.is_empty())?;
        Ok(wanted.len() - values.len())
    }

    fn value(&self, rule: Rule) -> io::Result<u32> {
        match rule {
            Rule::Excluded => Ok(EXCLUDED),
            Rule::Sampled => Ok(0),
            Rule::Frequency(hz) => self.rates.slot(hz),
        }
    }
}
