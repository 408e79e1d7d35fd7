//! What a user says about the canary.

use crate::export::{Auth, Endpoint};
use std::path::PathBuf;

/// Which server is asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryConfig {
    /// Pyroscope; its query API is below.
    pub url: Endpoint,
    /// Sent as `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// Who asks.
    pub auth: Auth,
    /// Authorities that are trusted besides the public ones.
    pub ca_file: Option<PathBuf>,
}
