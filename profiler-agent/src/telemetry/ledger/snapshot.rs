//! The ledger at one moment.

use std::borrow::Cow;

/// All terms of the ledger at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Samples taken by the kernel program.
    pub taken: u64,
    /// Entries counted by the kernel program; equals `taken` at rest.
    pub entered: u64,
    /// Samples at their destination.
    pub exported: u64,
    /// Samples on disk.
    pub spooled: u64,
    /// Samples on their way.
    pub pending: u64,
    /// Samples lost, by reason; every reason is there.
    pub dropped: Vec<(Cow<'static, str>, u64)>,
}

impl Snapshot {
    /// Samples lost for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Samples lost for this reason.
    #[must_use]
    pub fn dropped_for(&self, reason: &str) -> u64 {
        self.dropped.iter().find(|(found, _)| found == reason).map_or(0, |(_, count)| *count)
    }

    /// Whether the equation holds.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.taken == self.exported + self.spooled + self.pending + self.dropped_total()
    }
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} samples taken = {} exported + {} spooled + {} pending + {} dropped",
            self.taken,
            self.exported,
            self.spooled,
            self.pending,
            self.dropped_total()
        )?;
        for (reason, count) in self.dropped.iter().filter(|(_, count)| *count > 0) {
            write!(f, " ({count} {reason})")?;
        }
        if !self.balances() {
            f.write_str(" [does not balance]")?;
        }
        Ok(())
    }
}
