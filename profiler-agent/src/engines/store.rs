//! The containers that engines have told of, and those that they are to be asked for.
//!
//! A container is asked for when a process in it has a sample, and again from time to time as long as there are samples:
//! it may have another name by then. One that is gone keeps its name until its last samples have it.

use super::listing::Described;
use crate::container::Container;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a container is remembered that no process has a sample in.
const REMEMBER: Duration = Duration::from_secs(300);
/// After what time is asked again, for names that have changed and for containers that nobody knew.
const REFRESH: Duration = Duration::from_secs(300);
/// Containers at most; those that no engine knows make room first.
const MAX_CONTAINERS: usize = 4096;
/// Containers that wait for an answer: beyond it they wait for their next sample.
const MAX_WANTED: usize = 256;
/// Containers of one question.
const MAX_ASKED: usize = 64;

/// Containers by their ids.
#[derive(Debug, Default)]
pub struct Store {
    /// Whether anybody is there to be asked.
    asks: bool,
    state: Mutex<State>,
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Arc<str>, Known>,
    wanted: BTreeSet<Arc<str>>,
    /// Grows with every change.
    version: u64,
}

#[derive(Debug)]
struct Known {
    /// None where no engine knows it.
    container: Option<Arc<Described>>,
    /// Asked for again from then on.
    again: Instant,
    /// When it was looked for last.
    used: Instant,
}

impl Store {
    /// Knows nothing yet; where nobody can be asked, it never will.
    pub(super) fn new(asks: bool) -> Self {
        Self { asks, ..Self::default() }
    }

    /// With somebody to ask.
    #[cfg(test)]
    pub(crate) fn asking() -> Self {
        Self::new(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the innermost container that an engine knows. What is not known is asked for; never waits.
    #[must_use]
    pub fn find(&self, container: &Container, now: Instant) -> Option<Arc<Described>> {
        if !self.asks || container.pod_uid.is_some() {
            return None;
        }
        let mut state = self.lock();
        container.ids.iter().find_map(|id| {
            let known = state.known.get_mut(id).map(|known| {
                known.used = now;
                (known.container.clone(), known.again)
            });
            let (found, again) = known.unwrap_or((None, now));
            if again <= now && state.want(id) {
                self.more.notify_one();
            }
            found
        })
    }

    /// A number that is another one after every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Containers with a description.
    #[must_use]
    pub fn named(&self) -> usize {
        self.lock().known.values().filter(|known| known.container.is_some()).count()
    }

    /// Waits until there are containers to ask for, and gives as many as are asked for at once.
    pub(super) async fn wanted(&self) -> Vec<Arc<str>> {
        loop {
            let wanted: Vec<Arc<str>> = self.lock().wanted.iter().take(MAX_ASKED).cloned().collect();
            if !wanted.is_empty() {
                return wanted;
            }
            self.more.notified().await;
        }
    }

    /// What became of a question; whether there is room for it. `again` is when engines that did not answer may be asked
    /// again.
    pub(crate) fn answer(
        &self,
        asked: &[Arc<str>],
        found: Vec<Described>,
        again: Option<Instant>,
        now: Instant,
    ) -> bool {
        let mut state = self.lock();
        state.known.retain(|_, known| now.saturating_duration_since(known.used) <= REMEMBER);
        let later = again.unwrap_or(now + REFRESH);
        let mut fits = true;
        for id in asked {
            state.wanted.remove(id);
            fits &= state.note(id, later, now);
        }
        for container in found {
            state.describe(container, now);
        }
        fits
    }
}

impl State {
    /// Whether it was not wanted before.
    fn want(&mut self, id: &Arc<str>) -> bool {
        self.wanted.len() < MAX_WANTED && self.wanted.insert(Arc::clone(id))
    }

    /// Was asked for; whether there is room for it.
    fn note(&mut self, id: &Arc<str>, again: Instant, now: Instant) -> bool {
        if let Some(known) = self.known.get_mut(id) {
            known.again = again;
            return true;
        }
        if self.known.len() >= MAX_CONTAINERS {
            self.known.retain(|_, known| known.container.is_some());
        }
        let fits = self.known.len() < MAX_CONTAINERS;
        if fits {
            self.known.insert(Arc::clone(id), Known { container: None, again, used: now });
        }
        fits
    }

    fn describe(&mut self, container: Described, now: Instant) {
        let Some(known) = self.known.get_mut(&container.id) else { return };
        known.again = now + REFRESH;
        if known.container.as_deref() != Some(&container) {
            known.container = Some(Arc::new(container));
            self.version += 1;
        }
    }
}
