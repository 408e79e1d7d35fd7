//! What Pyroscope's querier answers to `SelectMergeStacktraces`: Connect's JSON, in which 64-bit integers are strings
//! and zeros are left out.

use serde::Deserialize;

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAnswer {
    /// Not the JSON that was asked for.
    #[error("the answer is no flame graph: {0}")]
    Json(#[from] serde_json::Error),
    /// Not a sum of CPU time.
    #[error("the answer's total is {0}")]
    Total(i64),
}

#[derive(Deserialize)]
struct Answer {
    flamegraph: Option<Flamegraph>,
}

#[derive(Deserialize)]
struct Flamegraph {
    #[serde(default)]
    total: Number,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Number {
    #[default]
    Absent,
    Plain(i64),
    Text(#[serde(deserialize_with = "parse")] i64),
}

fn parse<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// The sum of all values, 0 when there are none.
///
/// # Errors
/// The bytes are no such answer.
pub(crate) fn total(body: &[u8]) -> Result<u64, BadAnswer> {
    let answer: Answer = serde_json::from_slice(body)?;
    let total = match answer.flamegraph.map(|flamegraph| flamegraph.total).unwrap_or_default() {
        Number::Absent => 0,
        Number::Plain(total) | Number::Text(total) => total,
    };
    u64::try_from(total).map_err(|_| BadAnswer::Total(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sums_in_every_form() {
        let cases = [
            (r#"{"flamegraph":{"names":["total"],"levels":[{"values":["0","7"]}],"total":"7","maxSelf":"7"}}"#, 7),
            (r#"{"flamegraph":{"total":9007199254740993}}"#, 9_007_199_254_740_993),
            (r#"{"flamegraph":{"names":[]}}"#, 0),
            (r#"{"flamegraph":null}"#, 0),
            ("{}", 0),
        ];
        for (text, wanted) in cases {
            assert_eq!(total(text.as_bytes()).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_sum_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "7", "<html>", r#"{"flamegraph":{"total":"x"}}"#, r#"{"flamegraph":{"total":"-1"}}"#, &deep] {
            assert!(total(text.as_bytes()).is_err(), "{text}");
        }
    }
}
