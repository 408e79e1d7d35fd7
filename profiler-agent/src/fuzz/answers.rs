//! What servers answer.

use crate::canary::answer;
use crate::engines;
use crate::export::Code;
use crate::export::outcome::{MAX_HINT, Outcome, of_grpc, of_http};
use crate::process::NameSource;
use std::hint::black_box;

/// A status with a text, and details or a hint: nobody makes us wait for longer than we would.
pub fn export_answer(data: &[u8]) {
    let Some((&code, rest)) = data.split_first() else { return };
    let cut = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    let (text, details) = rest.split_at(cut);
    let (text, hint) = (String::from_utf8_lossy(text), String::from_utf8_lossy(details));
    let details = details.get(1..).unwrap_or_default();
    let status = 100 + 2 * u16::from(code);
    for outcome in [of_grpc(Code::from(i32::from(code) % 17), &text, details), of_http(status, Some(&hint), &text)] {
        if let Outcome::Retry { after: Some(after) } | Outcome::Ambiguous { after: Some(after) } = &outcome {
            assert!(*after <= MAX_HINT);
        }
        assert!(!outcome.label().is_empty());
    }
}

/// A list of containers: texts are short and printable, and names and labels come of them.
pub fn engine_answer(data: &[u8]) {
    for container in engines::listing::described(data).unwrap_or_default() {
        for (_, value) in engines::labels(&container) {
            assert!(value.is_none_or(|value| !value.is_empty() && value.len() <= 255));
            assert!(!value.unwrap_or_default().contains(char::is_control));
        }
        black_box(engines::answer(NameSource::Label, &container).or(engines::answer(NameSource::Owner, &container)));
    }
}

/// An answer to the canary.
pub fn canary_answer(data: &[u8]) {
    let _ = black_box(answer::total(data));
}
