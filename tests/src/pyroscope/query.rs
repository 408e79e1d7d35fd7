//! What the server stored, over its querier's Connect API with JSON (64-bit integers are strings there).

use super::Pyroscope;
use crate::workload::http_post_json;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The profile type of CPU samples.
pub const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// A server that has no CPU to itself cancels its own questions now and then: they are asked again.
const TRIES: usize = 5;

/// Times asked for, in Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// First millisecond.
    pub start_ms: u64,
    /// Last millisecond.
    pub end_ms: u64,
}

impl Range {
    /// The last hour, and a minute to come.
    #[must_use]
    pub fn last_hour() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let ms = |time: Duration| u64::try_from(time.as_millis()).expect("a clock before the year 500,000,000");
        Self { start_ms: ms(now.saturating_sub(Duration::from_secs(3600))), end_ms: ms(now + Duration::from_secs(60)) }
    }

    /// The hour that begins now.
    #[must_use]
    pub fn from_now() -> Self {
        let Self { end_ms, .. } = Self::last_hour();
        Self { start_ms: end_ms - 60_000, end_ms: end_ms + 3_540_000 }
    }

    fn with(self, mut body: Value) -> Value {
        body["start"] = json!(self.start_ms.to_string());
        body["end"] = json!(self.end_ms.to_string());
        body
    }
}

/// A stack and the sum of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Function names, leaf first, inlined ones on their own; `[no line]` where the location has none.
    pub frames: Vec<String>,
    /// Nanoseconds for [`CPU`].
    pub value: i64,
}

impl Stack {
    /// The function that was executing.
    #[must_use]
    pub fn leaf(&self) -> &str {
        self.frames.first().map_or("", String::as_str)
    }

    /// Whether a function is anywhere in it.
    #[must_use]
    pub fn has(&self, function: &str) -> bool {
        self.frames.iter().any(|frame| frame == function)
    }
}

/// Sum of the values of all stacks.
#[must_use]
pub fn value_of(stacks: &[Stack]) -> i64 {
    value_where(stacks, |_| true)
}

/// Sum of the values of some stacks.
#[must_use]
pub fn value_where(stacks: &[Stack], matches: impl Fn(&Stack) -> bool) -> i64 {
    stacks.iter().filter(|stack| matches(stack)).map(|stack| stack.value).sum()
}

impl Pyroscope {
    /// Ids of all profile types stored.
    #[must_use]
    pub fn profile_types(&self, range: Range) -> Vec<String> {
        let answer = self.ask("ProfileTypes", &range.with(json!({})));
        items(&answer["profileTypes"]).iter().map(|kind| text(&kind["ID"])).collect()
    }

    /// Values of a label, over all series.
    #[must_use]
    pub fn label_values(&self, name: &str, range: Range) -> Vec<String> {
        let answer = self.ask("LabelValues", &range.with(json!({ "name": name })));
        items(&answer["names"]).iter().map(text).collect()
    }

    /// Label sets of the series that a selector such as `{service_name="shop"}` matches.
    #[must_use]
    pub fn series(&self, selector: &str, range: Range) -> Vec<BTreeMap<String, String>> {
        let answer = self.ask("Series", &range.with(json!({ "matchers": [selector], "labelNames": [] })));
        let labels = |set: &Value| {
            items(&set["labels"]).iter().map(|label| (text(&label["name"]), text(&label["value"]))).collect()
        };
        items(&answer["labelsSet"]).iter().map(labels).collect()
    }

    /// Stacks of one profile type, merged over all series that a selector matches.
    #[must_use]
    pub fn stacks(&self, profile_type: &str, selector: &str, range: Range) -> Vec<Stack> {
        let body = range.with(json!({ "profileTypeID": profile_type, "labelSelector": selector }));
        stacks(&self.ask("SelectMergeProfile", &body))
    }

    fn ask(&self, method: &str, body: &Value) -> Value {
        let path = format!("/querier.v1.QuerierService/{method}");
        let ask = || {
            let answer = http_post_json(&self.address, &path, &body.to_string());
            answer.unwrap_or_else(|| panic!("no answer to {method}"))
        };
        let is_canceled = |(status, answer): &(u16, String)| *status == 500 && answer.contains("\"canceled: ");
        let mut tries = std::iter::repeat_with(ask).take(TRIES).skip_while(is_canceled);
        let (status, answer) = tries.next().unwrap_or_else(|| panic!("{method} is canceled {TRIES} times"));
        assert_eq!(status, 200, "{method} {body}: {answer}\n{}", self.log());
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in the answer to {method}: {answer}"))
    }
}

/// From a pprof profile in protobuf's JSON; zero values and empty lists are left out there.
fn stacks(profile: &Value) -> Vec<Stack> {
    let strings: Vec<String> = items(&profile["stringTable"]).iter().map(text).collect();
    let name = |index: &Value| strings.get(number(index) as usize).cloned().unwrap_or_default();
    let functions: HashMap<i64, String> =
        items(&profile["function"]).iter().map(|function| (number(&function["id"]), name(&function["name"]))).collect();
    let frames = |location: &Value| match items(&location["line"]) {
        [] => vec!["[no line]".to_owned()],
        lines => lines.iter().map(|line| functions[&number(&line["functionId"])].clone()).collect(),
    };
    let locations: HashMap<i64, Vec<String>> =
        items(&profile["location"]).iter().map(|location| (number(&location["id"]), frames(location))).collect();
    let stack = |sample: &Value| Stack {
        frames: items(&sample["locationId"]).iter().flat_map(|id| locations[&number(id)].clone()).collect(),
        value: items(&sample["value"]).first().map_or(0, number),
    };
    items(&profile["sample"]).iter().map(stack).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A number, written as such or as a string; 0 when left out.
fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_read_from_pprof_in_json() {
        let profile = json!({
            "stringTable": ["", "main", "inlined"],
            "function": [{ "id": "1", "name": "1" }, { "id": "2", "name": "2" }],
            "location": [
                { "id": "1", "line": [{ "functionId": "2" }, { "functionId": "1" }] },
                { "id": "2", "address": "16" },
            ],
            "sample": [{ "locationId": ["2", "1"], "value": ["5"] }, { "locationId": ["1"], "value": ["7"] }],
        });
        let stacks = stacks(&profile);
        assert_eq!(stacks[0].frames, ["[no line]", "inlined", "main"]);
        assert_eq!((value_of(&stacks), value_where(&stacks, |stack| stack.leaf() == "inlined")), (12, 7));
    }
}
