//! The agent's own log, on standard error.

use crate::config::LogConfig;
use std::io::IsTerminal as _;
use tracing_subscriber::fmt::format::FmtSpan;

/// Starts the log of this process; later calls change nothing.
pub fn start(config: LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(config.level)
        .with_span_events(FmtSpan::NONE)
        .with_target(config.json);
    let started = if config.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR"))).try_init()
    };
    if started.is_err() {
        tracing::debug!("the log has been started before");
    }
}

/// Colours for people only, and only for those who want them (no-color.org: any value but an empty one).
fn colours(terminal: bool, no_color: Option<std::ffi::OsString>) -> bool {
    terminal && no_color.is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_and_can_be_declined() {
        assert!(colours(true, None));
        assert!(colours(true, Some("".into())));
        assert!(!colours(true, Some("1".into())));
        assert!(!colours(false, None));
    }
}
