//! Regular expressions of the configuration: they fit a text as a whole or not at all.

use regex_lite::{Regex, RegexBuilder};

/// Bytes of an expression at most.
const MAX_PATTERN_BYTES: usize = 4096;
/// Memory of a compiled expression at most; a match takes time in proportion to it and to the text.
const MAX_COMPILED_BYTES: usize = 256 << 10;

/// An anchored expression, matched in linear time. `.` fits every character; classes such as `\w` are those of ASCII.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no regular expression: {0}")]
pub struct BadPattern(String);

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// It is none, or is too long, or becomes too large.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(BadPattern(format!("longer than {MAX_PATTERN_BYTES} bytes")));
        }
        // On its own first: `a)|(b` must not escape from what is put around it.
        compile(text)?;
        Ok(Self { text: text.to_owned(), regex: compile(&format!("^(?s:{text})$"))? })
    }

    /// Whether all of a text fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Each template with `$1`, `${1}` and `${name}` replaced by what the groups found; none when the text does not fit.
    pub(super) fn expand<const COUNT: usize>(&self, text: &str, templates: [&str; COUNT]) -> Option<[String; COUNT]> {
        let found = self.regex.captures(text)?;
        Some(templates.map(|template| {
            let mut expanded = String::new();
            found.expand(template, &mut expanded);
            expanded
        }))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn compile(text: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(text).size_limit(MAX_COMPILED_BYTES).build();
    built.map_err(|error| BadPattern(error.to_string()))
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_a_text_as_a_whole() {
        let pattern = Pattern::new("shop|kube-.*").unwrap();
        for (text, fits) in [("shop", true), ("shops", false), ("kube-proxy", true), ("a kube-proxy", false)] {
            assert_eq!(pattern.matches(text), fits, "{text}");
        }
        assert!(Pattern::new(".*").unwrap().matches("two\nlines"));
        assert!(!Pattern::new("a").unwrap().matches("a\n"));
    }

    #[test]
    fn what_is_wrong_or_too_large_is_refused() {
        for text in ["(", "a)|(b", "[", "a{2", "*", "\\", "\\p{Greek}", "(a{1000}){1000}"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN_BYTES + 1)).is_err());
        assert!(Pattern::new(&"(".repeat(MAX_PATTERN_BYTES)).is_err());
    }

    #[test]
    fn what_other_engines_take_for_ever_for_takes_no_time() {
        assert!(!Pattern::new("(a*)*b").unwrap().matches(&"a".repeat(100_000)));
    }
}
