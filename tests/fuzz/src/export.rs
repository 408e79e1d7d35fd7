//! Its configuration and what it reads; nothing is sent.

#[path = "../../../profiler-agent/src/export/config.rs"]
mod config;
#[path = "../../../profiler-agent/src/export/outcome.rs"]
pub(crate) mod outcome;

pub use config::{Auth, Endpoint, ExportConfig, Protocol};

/// What the library of TLS decides.
pub(crate) fn is_server_name(text: &str) -> bool {
    !text.is_empty()
}

/// Codes of gRPC, as tonic has them: it comes with more than a fuzz target needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl From<i32> for Code {
    fn from(number: i32) -> Self {
        use Code::*;
        let all = [
            Ok,
            Cancelled,
            Unknown,
            InvalidArgument,
            DeadlineExceeded,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            ResourceExhausted,
            FailedPrecondition,
            Aborted,
            OutOfRange,
            Unimplemented,
            Internal,
            Unavailable,
            DataLoss,
            Unauthenticated,
        ];
        usize::try_from(number).ok().and_then(|number| all.get(number)).copied().unwrap_or(Unknown)
    }
}
