//! How a command ends that cannot go on, without the reasons of the kernel.

/// Wrong use of the command line.
pub const USAGE: u8 = 2;
/// Bad configuration.
pub const CONFIGURATION: u8 = 64;

/// The end of a command, with what to tell the user.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// For standard error.
    pub message: String,
}
