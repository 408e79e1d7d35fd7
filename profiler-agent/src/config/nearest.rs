//! What somebody may have meant.

/// Further apart, a suggestion is noise.
const MAX_TYPOS: usize = 3;

/// What to say of a key that is none of `known`: the nearest one, or `advice`.
pub(super) fn unknown(key: &str, known: impl Iterator<Item = &'static str>, advice: &str) -> String {
    match known.map(|known| (typos(key, known), known)).min() {
        Some((typos, known)) if typos <= MAX_TYPOS && typos < known.len().min(key.len()) => {
            format!("unknown key {key:?}; did you mean {known}?")
        }
        _ => format!("unknown key {key:?}; {advice}"),
    }
}

/// Edits between two keys (Levenshtein); `_` is as good as `-`. Long keys are cut: they are far apart anyway.
fn typos(left: &str, right: &str) -> usize {
    let plain = |key: &str| -> Vec<char> { key.to_lowercase().replace('_', "-").chars().take(64).collect() };
    let (left, right) = (plain(left), plain(right));
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
