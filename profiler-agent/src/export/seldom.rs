//! Says a thing once, not once per part.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same is said again after this long.
const AGAIN: Duration = Duration::from_secs(3600);
/// Different things said within that time at most: the texts are the server's.
const MAX_REASONS: usize = 32;
/// Characters of a text that tell it from others.
const MAX_CHARS: usize = 160;

#[derive(Debug, Default)]
pub(super) struct Seldom {
    said: Mutex<HashMap<String, Instant>>,
}

impl Seldom {
    /// Whether to say it now. Texts that differ in numbers are the same: they hold times, sizes and ids.
    pub(super) fn allows(&self, text: &str) -> bool {
        let word =
            |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "0".to_owned() } else { word.to_owned() };
        let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
        let reason: String = words.map(word).collect::<String>().chars().take(MAX_CHARS).collect();
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, at| now.duration_since(*at) < AGAIN);
        said.len() < MAX_REASONS && said.insert(reason, now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_each_reason_once_and_not_too_many() {
        let seldom = Seldom::default();
        assert!(seldom.allows("limit 17 exceeded"));
        assert!(!seldom.allows("limit 18 exceeded"));
        assert!(seldom.allows("id 96f60c24-f8f6 failed"));
        assert!(!seldom.allows("id 17fee3ab-9a9b failed"));
        assert!(seldom.allows("no tenant"));
        let letters = |n: u8| char::from(b'a' + n % 26).to_string().repeat(1 + usize::from(n) / 26);
        let said = (0..100).filter(|&n| seldom.allows(&letters(n))).count();
        assert_eq!(said, MAX_REASONS - 3);
    }
}
