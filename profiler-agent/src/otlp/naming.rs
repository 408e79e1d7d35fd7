//! How labels are written.

use std::borrow::Cow;

/// How the keys of labels are written; `service.name` keeps its dot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelStyle {
    /// `k8s_pod_name`: what Pyroscope's queries need.
    #[default]
    Underscore,
    /// `k8s.pod.name`: what OpenTelemetry collectors expect.
    Dot,
}

/// A name of Prometheus: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) fn underscored(key: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digit_first = key.starts_with(|c: char| c.is_ascii_digit());
    if key.chars().all(plain) && !digit_first {
        return Cow::Borrowed(key);
    }
    let prefix = digit_first.then_some('_');
    Cow::Owned(prefix.into_iter().chain(key.chars().map(|c| if plain(c) { c } else { '_' })).collect())
}

/// The longest prefix of at most `max_bytes` that ends at a character.
pub(crate) fn clip(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}
