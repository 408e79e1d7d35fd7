//! What a request asks for: a span of time and a part of the host.

use crate::aggregate::merge::Selection;
use std::time::Duration;

/// A half-open span in Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First nanosecond.
    pub from_unix_ns: u64,
    /// First nanosecond after it.
    pub to_unix_ns: u64,
}

/// A query string taken apart. Unknown keys are ignored, so that links outlive versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) selection: Selection,
    from: Option<String>,
    to: Option<String>,
    pub(super) token: Option<String>,
}

impl Query {
    /// Parses `key=value&…`; `Err` is the sentence for a 400.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode(value);
            match key {
                _ if value.is_empty() => {}
                "service" => query.selection.service = Some(value),
                "pid" => query.selection.pid = Some(id(key, &value)?),
                "tid" => query.selection.tid = Some(id(key, &value)?),
                "from" => query.from = Some(value),
                "to" => query.to = Some(value),
                "token" => query.token = Some(value),
                _ => {}
            }
        }
        Ok(query)
    }

    /// The span asked for: the last hour by default.
    pub(super) fn span(&self, now_unix_ns: u64) -> Result<Span, String> {
        let from_unix_ns = instant(self.from.as_deref().unwrap_or("now-1h"), now_unix_ns)?;
        let to_unix_ns = instant(self.to.as_deref().unwrap_or("now"), now_unix_ns)?;
        Ok(Span { from_unix_ns, to_unix_ns })
    }
}

fn id(key: &str, value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("{key} is not a number: {value}"))
}

/// Unix milliseconds, `now`, or `now-` and a number with `s`, `m` or `h`.
fn instant(text: &str, now_unix_ns: u64) -> Result<u64, String> {
    let wrong = || format!("neither Unix milliseconds nor now-<n>s|m|h: {text}");
    let Some(rest) = text.strip_prefix("now") else {
        return text.parse::<u64>().map(|ms| ms.saturating_mul(1_000_000)).map_err(|_| wrong());
    };
    if rest.is_empty() {
        return Ok(now_unix_ns);
    }
    let span = rest.strip_prefix('-').ok_or_else(wrong)?;
    let (number, unit_s) = match span.char_indices().next_back() {
        Some((end, 's')) => (&span[..end], 1),
        Some((end, 'm')) => (&span[..end], 60),
        Some((end, 'h')) => (&span[..end], 3600),
        _ => return Err(wrong()),
    };
    let back = Duration::from_secs(number.parse::<u32>().map_err(|_| wrong())?.into()).saturating_mul(unit_s);
    Ok(now_unix_ns.saturating_sub(u64::try_from(back.as_nanos()).unwrap_or(u64::MAX)))
}

/// Decodes `%41` and `+`; what is no escape stays, what is no UTF-8 becomes U+FFFD.
fn percent_decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut plain = Vec::with_capacity(rest.len());
    while let [byte, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        rest = match escaped {
            Some((high, low)) => {
                plain.push(high << 4 | low);
                &tail[2..]
            }
            None => {
                plain.push(if *byte == b'+' { b' ' } else { *byte });
                tail
            }
        };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 10_000_000_000_000;

    #[test]
    fn takes_a_query_apart() {
        let query = Query::parse("service=a%20b%26c+d&pid=12&tid=13&from=5&to=now-2m&unknown=1&token=x").unwrap();
        let selection = Selection { service: Some("a b&c d".into()), pid: Some(12), tid: Some(13) };
        assert_eq!(query.selection, selection);
        assert_eq!(query.span(NOW).unwrap(), Span { from_unix_ns: 5_000_000, to_unix_ns: NOW - 120_000_000_000 });
        assert_eq!(query.token.as_deref(), Some("x"));
    }

    #[test]
    fn the_default_is_the_last_hour_of_everything() {
        let query = Query::parse("service=&pid=").unwrap();
        assert_eq!(query, Query::default());
        assert_eq!(query.span(NOW).unwrap(), Span { from_unix_ns: NOW - 3_600_000_000_000, to_unix_ns: NOW });
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(Query::parse("pid=x").unwrap_err(), "pid is not a number: x");
        for wrong in ["yesterday", "now-", "now-5", "now-5d", "now+5m", "-1", "now-5é"] {
            let query = Query { from: Some(wrong.into()), ..Query::default() };
            assert!(query.span(NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn broken_escapes_stay_text() {
        assert_eq!(percent_decode("%4g%"), "%4g%");
        assert_eq!(percent_decode("%ff%41"), "\u{fffd}A");
        assert_eq!(percent_decode("%+1"), "% 1");
    }
}
