//! Why samples are lost.

/// Why a sample was lost after the kernel program had submitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The record made no sense.
    Malformed,
    /// The processing stage lags and its queue is full.
    QueueFull,
    /// The window holds as many distinct stacks as it may.
    WindowFull,
    /// The export backlog is full; the oldest goes first.
    BacklogFull,
    /// The server took the request and rejected the samples (`partial_success`).
    Rejected,
    /// The server refused the request for good.
    Refused,
    /// Could not be sent before the agent had to stop.
    Shutdown,
    /// The output could not be written.
    NotWritten,
    /// Older than Pyroscope takes.
    TooOld,
    /// The spool is full; the oldest goes first.
    SpoolFull,
    /// The spool's file was damaged or is gone.
    SpoolLost,
    /// In the agent's hands when it was killed.
    Killed,
    /// A relabel rule says so.
    Relabel,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::QueueFull,
        Self::WindowFull,
        Self::BacklogFull,
        Self::Rejected,
        Self::Refused,
        Self::Shutdown,
        Self::NotWritten,
        Self::TooOld,
        Self::SpoolFull,
        Self::SpoolLost,
        Self::Killed,
        Self::Relabel,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::QueueFull => "queue_full",
            Self::WindowFull => "window_full",
            Self::BacklogFull => "backlog_full",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::NotWritten => "not_written",
            Self::TooOld => "too_old",
            Self::SpoolFull => "spool_full",
            Self::SpoolLost => "spool_lost",
            Self::Killed => "killed",
            Self::Relabel => "relabel",
        }
    }
}
