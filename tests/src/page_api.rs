//! What the page's own script asks the agent for.

use crate::agent::Agent;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// `/api/services` of a span such as `now-5s`.
#[must_use]
pub fn services(agent: &Agent, from: &str) -> Vec<Service> {
    let answer = json(&agent.get(&format!("/api/services?from={from}")));
    let services = answer["services"].as_array().expect("a list of services");
    services.iter().map(Service::of).collect()
}

/// A service in the answer.
#[derive(Clone, Debug)]
pub struct Service {
    /// `service.name`.
    pub name: String,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Pid and name.
    pub processes: Vec<(u32, String)>,
}

impl Service {
    fn of(value: &Value) -> Self {
        let process = |process: &Value| (process["pid"].as_u64().unwrap_or(0) as u32, text(&process["name"]));
        let processes = value["processes"].as_array().expect("a list of processes");
        let cpu_ns = value["cpu_ns"].as_u64().unwrap_or(0);
        Self { name: text(&value["name"]), cpu_ns, processes: processes.iter().map(process).collect() }
    }
}

/// A function of a service's flame graph.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Path of the file it is in.
    pub module: String,
    /// `native`, `kernel`, ….
    pub kind: String,
    /// CPU nanoseconds of its own.
    pub self_ns: u64,
    /// CPU nanoseconds with what it called.
    pub total_ns: u64,
}

/// The functions of a service; all of them when no service is given.
#[must_use]
pub fn functions(agent: &Agent, service: &str, from: &str) -> Vec<Function> {
    let answer = json(&agent.get(&format!("/api/flame?service={}&from={from}", percent_encode(service))));
    let frames = answer["frames"].as_array().expect("frames");
    let function = |row: &Value| {
        let frame = &frames[row[0].as_u64().expect("an index") as usize];
        Function {
            name: text(&frame[0]),
            module: text(&frame[1]),
            kind: text(&frame[2]),
            self_ns: row[1].as_u64().unwrap_or(0),
            total_ns: row[2].as_u64().unwrap_or(0),
        }
    };
    answer["functions"].as_array().expect("functions").iter().map(function).collect()
}

/// Waits until a service has a function that fits; gives all its functions.
#[track_caller]
pub fn wait_for_function(agent: &Agent, service: &str, fits: impl Fn(&Function) -> bool) -> Vec<Function> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let functions = functions(agent, service, "now-1h");
        if functions.iter().any(&fits) {
            return functions;
        }
        if Instant::now() > until {
            let services = services(agent, "now-1h");
            panic!("{service} has no such function: {functions:#?}\nservices: {services:#?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until a service has a function of this name.
#[track_caller]
pub fn wait_for(agent: &Agent, service: &str, name: &str) -> Vec<Function> {
    wait_for_function(agent, service, |function| function.name == name)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => write!(encoded, "{}", char::from(byte)),
            _ => write!(encoded, "%{byte:02X}"),
        };
        encoded
    })
}
