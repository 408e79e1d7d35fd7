//! Exit codes, and how a command ends that cannot go on.

use crate::bpf::LoadError;

/// Fine.
pub const OK: u8 = 0;
/// Something failed: output not writable, no such process.
pub const FAILED: u8 = 1;
/// Wrong use of the command line.
pub const USAGE: u8 = 2;
/// Bad configuration.
pub const CONFIGURATION: u8 = 64;
/// A privilege or kernel feature is missing.
pub const PRIVILEGE: u8 = 77;
/// The command to record cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command to record was not found.
pub const NOT_FOUND: u8 = 127;

/// The end of a command, with what to tell the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// For standard error.
    pub message: String,
}

impl From<anyhow::Error> for Failure {
    /// The whole chain of causes in one line. What the kernel lacks or refuses has a code of its own.
    fn from(error: anyhow::Error) -> Self {
        let code = match error.downcast_ref::<LoadError>() {
            None | Some(LoadError::Usage(_)) => FAILED,
            Some(_) => PRIVILEGE,
        };
        Self { code, message: format!("{error:#}") }
    }
}
