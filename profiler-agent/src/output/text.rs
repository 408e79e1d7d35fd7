//! Names made fit for people's eyes and terminals.
//!
//! A function may be called anything: escape sequences that retitle a terminal, a right-to-left override that turns
//! the rest of the line around, a newline that forges a row, 100 KB of template arguments.

use crate::profile::{FrameKind, Location, Profile};
use std::borrow::Cow;

/// Characters of a name that are kept. Longer ones occur in C++ templates; their tails help nobody.
pub(super) const MAX_NAME_CHARS: usize = 4096;

/// Stands for a name without a visible character.
const UNNAMED: &str = "[unnamed]";

/// The text with every character replaced that is not just shown, cut at [`MAX_NAME_CHARS`]. What it returns contains
/// only characters that XML 1.0 allows.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    // Bytes bound characters from above: the common case looks at each character once.
    if text.len() <= MAX_NAME_CHARS && text.chars().all(is_shown) {
        return Cow::Borrowed(text);
    }
    let mut shown: String = text.chars().take(MAX_NAME_CHARS).map(show).collect();
    if text.chars().nth(MAX_NAME_CHARS).is_some() {
        shown.push('…');
    }
    Cow::Owned(shown)
}

fn show(c: char) -> char {
    if is_shown(c) { c } else { char::REPLACEMENT_CHARACTER }
}

/// Not control characters, line separators, invisible and direction-changing format characters, byte order marks and
/// noncharacters.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        && !matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fdd0}'..='\u{fdef}')
        && !matches!(c, '\u{e0000}'..='\u{e0fff}')
        && u32::from(c) & 0xfffe != 0xfffe
}

/// [`printable`] without surrounding blanks, and never empty.
pub(super) fn name(text: &str) -> Cow<'_, str> {
    let trimmed = text.trim();
    if trimmed.is_empty() { Cow::Borrowed(UNNAMED) } else { printable(trimmed) }
}

/// The last part of a path: `libc.so.6` of `/usr/lib/libc.so.6`; names in brackets stay whole.
pub(super) fn file_name(path: &str) -> &str {
    if path.starts_with('[') { path } else { path.rsplit('/').next().unwrap_or(path) }
}

/// A frame of collapsed stacks: [`name`] without what the format gives a meaning to.
///
/// `;` separates frames, `# ` at the start of a line is a comment, and ` 12` at the end of a stack would be read as the
/// second count of a differential profile.
pub(super) fn frame(text: &str) -> String {
    let mut frame = name(text).replace(';', ":");
    if frame.starts_with("# ") {
        frame.replace_range(1..2, "_");
    }
    if let Some(blank) = frame.rfind(char::is_whitespace) {
        let width = frame[blank..].chars().next().map_or(1, char::len_utf8);
        if frame[blank + width..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            frame.replace_range(blank..blank + width, "_");
        }
    }
    frame
}

/// 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// For each function as seen from each kind of code its frame; kernel frames end with `_[k]`, as `perf`'s collapsers
/// annotate them and flame graph tools colour them.
pub(super) struct Frames {
    native: Vec<String>,
}

impl Frames {
    pub(super) fn new(profile: &Profile) -> Self {
        Self { native: profile.functions.iter().map(|function| frame(&function.name)).collect() }
    }

    /// Appends `;` and the frame for every line of the location, outermost first.
    pub(super) fn push(&self, stack: &mut String, location: &Location) {
        for line in location.lines.iter().rev() {
            stack.push(';');
            stack.push_str(&self.native[line.function as usize]);
            if location.kind == FrameKind::Kernel {
                stack.push_str(KERNEL_SUFFIX);
            }
        }
    }
}

/// Marks a kernel frame.
pub(super) const KERNEL_SUFFIX: &str = "_[k]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_is_not_just_shown() {
        assert_eq!(printable("std::vec<int>::push_back"), "std::vec<int>::push_back");
        assert_eq!(
            printable("a\x1b[31mb\n\0\u{9b}\u{202e}c\u{feff}\u{ffff}"),
            "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}\u{fffd}c\u{fffd}\u{fffd}"
        );
        assert_eq!(printable("función 関数 🦀"), "función 関数 🦀");
        assert_eq!(printable(&"é".repeat(MAX_NAME_CHARS)), "é".repeat(MAX_NAME_CHARS));
        assert_eq!(printable(&"x".repeat(100_000)).chars().count(), MAX_NAME_CHARS + 1);
        assert_eq!(name(" \t"), UNNAMED);
    }

    #[test]
    fn frame_has_no_meaning_but_its_name() {
        assert_eq!(frame("f(int); g"), "f(int): g");
        assert_eq!(frame("operator new 12"), "operator new_12");
        assert_eq!(frame("f 1.5"), "f_1.5");
        assert_eq!(frame("f\u{3000}7"), "f_7");
        assert_eq!(frame("# comment"), "#_comment");
        assert_eq!(frame("# 3"), "#_3");
        assert_eq!(frame("f() const"), "f() const");
    }

    #[test]
    fn groups_digits() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn file_name_of_a_path() {
        assert_eq!(file_name("/usr/lib/libc.so.6"), "libc.so.6");
        assert_eq!(file_name("[kernel]"), "[kernel]");
        assert_eq!(file_name("[anon:a/b]"), "[anon:a/b]");
    }
}
