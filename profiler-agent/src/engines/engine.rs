//! One engine: what it was asked and when it may be asked again.

use super::ask::{Answer, ask};
use super::config::SOCKETS;
use super::listing::Described;
use super::problem::Problem;
use crate::telemetry::metrics::{Metric, Metrics};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it rests after the first question that it did not answer; doubled each time.
const REST: Duration = Duration::from_secs(1);
/// Most doublings: about a minute.
const MAX_DOUBLINGS: u32 = 6;

/// An engine by its socket.
#[derive(Debug)]
pub(super) struct Engine {
    socket: PathBuf,
    /// Questions without an answer since the last one with one.
    failures: u32,
    rests_until: Option<Instant>,
    /// What was said of it last.
    said: Option<&'static str>,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, failures: 0, rests_until: None, said: None }
    }

    /// When it may be asked again; none where it answers.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// What it knows of these containers, nothing while it rests.
    pub(super) async fn ask(&mut self, ids: &[Arc<str>], metrics: &Metrics) -> Vec<Described> {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Vec::new();
        }
        let asked = match ask(&self.socket, ids).await {
            // One of them has more to say than all may: the others are named all the same.
            Err(Problem::TooLarge) if ids.len() > 1 => self.ask_singly(ids, metrics).await,
            asked => asked,
        };
        match asked {
            Ok(answer) => self.answered(answer),
            Err(problem) => self.failed(&problem, metrics),
        }
    }

    async fn ask_singly(&self, ids: &[Arc<str>], metrics: &Metrics) -> Result<Answer, Problem> {
        let mut all: Option<Answer> = None;
        for id in ids {
            match (ask(&self.socket, std::slice::from_ref(id)).await, &mut all) {
                (Ok(answer), Some(all)) => all.containers.extend(answer.containers),
                (Ok(answer), None) => all = Some(answer),
                (Err(Problem::TooLarge), _) => {
                    metrics.add(Metric::ContainerEngineErrors, Problem::TooLarge.label(), 1);
                }
                (Err(problem), _) => return Err(problem),
            }
        }
        all.ok_or(Problem::TooLarge)
    }

    fn answered(&mut self, answer: Answer) -> Vec<Described> {
        (self.failures, self.rests_until) = (0, None);
        if self.said.replace("answers") != Some("answers") {
            tracing::info!(socket = %self.socket.display(), "containers are named by {}", answer.server);
        }
        answer.containers
    }

    fn failed(&mut self, problem: &Problem, metrics: &Metrics) -> Vec<Described> {
        self.rests_until = Some(Instant::now() + REST * (1 << self.failures.min(MAX_DOUBLINGS)));
        self.failures = self.failures.saturating_add(1);
        // A host need not have what nobody named.
        let is_default = SOCKETS.split(',').any(|socket| self.socket == Path::new(socket));
        if is_default && matches!(problem, Problem::Absent) && self.said.is_none() {
            return Vec::new();
        }
        metrics.add(Metric::ContainerEngineErrors, problem.label(), 1);
        if self.said.replace(problem.label()) != Some(problem.label()) {
            tracing::warn!(fix = problem.fix(), "{}: containers have their ids", problem.say(&self.socket));
        }
        Vec::new()
    }
}
