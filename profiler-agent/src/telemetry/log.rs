//! The agent's own log, on standard error.

use crate::config::LogConfig;
use std::io::IsTerminal as _;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Crates that warn at every try of what the agent says once.
const TALKATIVE: [&str; 3] = ["kube", "kube_client", "kube_runtime"];

/// Starts the log of this process; later calls change nothing.
pub fn start(config: LogConfig) {
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_target(config.json);
    let filter = filter(config.level);
    let started = if config.json {
        registry().with(layer.json().flatten_event(true).with_filter(filter)).try_init()
    } else {
        let ansi = colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR"));
        registry().with(layer.with_ansi(ansi).with_filter(filter)).try_init()
    };
    if started.is_err() {
        tracing::debug!("the log has been started before");
    }
}

fn filter(level: Level) -> Targets {
    let theirs = if level > Level::INFO { level } else { Level::ERROR };
    Targets::new().with_default(level).with_targets(TALKATIVE.map(|target| (target, theirs)))
}

/// Colours for people only, and only for those who want them (no-color.org: any value but an empty one).
fn colours(terminal: bool, no_color: Option<std::ffi::OsString>) -> bool {
    terminal && no_color.is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_repeat_is_for_those_who_look_closer() {
        let shown = |level, target| filter(level).would_enable(target, &Level::WARN);
        assert!(shown(Level::INFO, "profiler_agent::kubernetes::watch"));
        assert!(!shown(Level::INFO, "kube_runtime::watcher"));
        assert!(shown(Level::DEBUG, "kube_runtime::watcher"));
    }

    #[test]
    fn colours_are_for_terminals_and_can_be_declined() {
        assert!(colours(true, None));
        assert!(colours(true, Some("".into())));
        assert!(!colours(true, Some("1".into())));
        assert!(!colours(false, None));
    }
}
