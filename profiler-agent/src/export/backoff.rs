//! How long to wait before the next try.

use std::time::Duration;

/// The first wait at most.
const BASE: Duration = Duration::from_millis(500);
/// Any wait at most, unless the server asks for more.
const CAP: Duration = Duration::from_secs(30);

/// Full jitter: anything up to `min(CAP, BASE * 2^failures)`, so that many agents do not come back at once.
pub(super) fn jittered(failures: u32) -> Duration {
    let ceiling = BASE.saturating_mul(1 << failures.min(16)).min(CAP);
    ceiling.mul_f64(rand::random::<f64>())
}

/// At least what the server asks for.
pub(super) fn with_hint(failures: u32, after: Option<Duration>) -> Duration {
    match after {
        Some(after) => after + jittered(0),
        None => jittered(failures),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_cap_and_honours_hints() {
        for _ in 0..1000 {
            assert!(jittered(0) <= BASE);
            assert!(jittered(3) <= BASE * 8);
            assert!(jittered(u32::MAX) <= CAP);
            assert!(with_hint(9, Some(Duration::from_secs(40))) >= Duration::from_secs(40));
        }
        assert!((0..100).map(|_| jittered(20)).max() > Some(Duration::from_secs(15)), "the cap is used");
    }
}
