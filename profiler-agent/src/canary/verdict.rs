//! What an answer means, and what several mean together.

/// Windows in a row after which the agent is not ready.
const PATIENCE: u32 = 3;

/// What became of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has what was sent.
    Equal,
    /// Some of it is missing.
    Less,
    /// It has more: requests that were sent again though it had taken them, or another agent with the same labels.
    More,
    /// It could not be asked, or has nothing.
    Unreadable,
}

impl Outcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Less => "less",
            Self::More => "more",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Compares nanoseconds; the text says what is wrong, empty when nothing is.
pub(super) fn judge(sent_ns: u64, found: Result<u64, String>) -> (Outcome, String) {
    match found {
        Err(error) => (Outcome::Unreadable, error),
        Ok(0) if sent_ns > 0 => (Outcome::Unreadable, "it shows nothing of what it accepted".to_owned()),
        Ok(found_ns) if found_ns < sent_ns => {
            (Outcome::Less, format!("it shows {found_ns} of {sent_ns} ns that it accepted"))
        }
        Ok(found_ns) if found_ns > sent_ns => {
            (Outcome::More, format!("it shows {found_ns} ns, {sent_ns} ns were sent"))
        }
        Ok(_) => (Outcome::Equal, String::new()),
    }
}

/// Windows one after the other.
#[derive(Debug, Default)]
pub(super) struct Row {
    bad: u32,
    reason: String,
}

impl Row {
    pub(super) fn note(&mut self, outcome: Outcome, reason: String) {
        if matches!(outcome, Outcome::Equal | Outcome::More) {
            if self.bad >= PATIENCE {
                tracing::info!("what the server accepted can be read again");
            }
            *self = Self::default();
            return;
        }
        self.bad = self.bad.saturating_add(1);
        self.reason = reason;
        if self.bad == PATIENCE {
            tracing::error!(reason = self.reason, windows = self.bad, "what the server accepted cannot be read there");
        }
    }

    pub(super) fn readiness(&self) -> Result<(), String> {
        if self.bad < PATIENCE {
            return Ok(());
        }
        Err(format!("canary: {} windows in a row could not be read back from the server: {}", self.bad, self.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared() {
        let cases = [
            (Ok(7), Outcome::Equal),
            (Ok(6), Outcome::Less),
            (Ok(8), Outcome::More),
            (Ok(0), Outcome::Unreadable),
            (Err("refused".to_owned()), Outcome::Unreadable),
        ];
        for (found, wanted) in cases {
            assert_eq!(judge(7, found.clone()).0, wanted, "{found:?}");
        }
    }

    #[test]
    fn three_bad_windows_in_a_row_are_too_many() {
        let mut row = Row::default();
        let bad = [Outcome::Less, Outcome::Unreadable, Outcome::Equal, Outcome::Less, Outcome::Less];
        for outcome in bad {
            row.note(outcome, "it shows 6 of 7 ns that it accepted".into());
            assert_eq!(row.readiness(), Ok(()));
        }
        row.note(Outcome::Unreadable, "connection refused".into());
        let reason = "canary: 3 windows in a row could not be read back from the server: connection refused";
        assert_eq!(row.readiness(), Err(reason.into()));
        row.note(Outcome::More, String::new());
        assert_eq!(row.readiness(), Ok(()));
    }
}
