//! Whether pods have names.

use super::report::Check;
use crate::kubernetes::{KubernetesConfig, Missing, probe};

/// Asks the API server. Sampling goes on without it: whatever is missing is a warning.
pub(super) fn reached(config: &KubernetesConfig) -> Check {
    let name = "kubernetes";
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Check::warn(name, error.to_string(), "raise the limit of open files"),
    };
    match runtime.block_on(probe(config)) {
        Ok(found) => Check::pass(name, found),
        Err(Missing { found, fix }) => Check::warn(name, found, fix),
    }
}
