//! The agent: one folder per stage of the data's way.
//!
//! `bpf` (ring buffer) > `process` > `aggregate` > `symbolize` > `outgoing` (with `relabel`) > `otlp` > `export`, and
//! `canary` asks for what was sent; `history` and `page` show the last hour, `output` writes files. `run` and `recording`
//! alone know the wiring.

pub mod agent;
pub mod aggregate;
pub mod bpf;
pub mod canary;
pub mod cli;
pub mod config;
pub mod confine;
pub mod container;
pub mod doctor;
pub mod engines;
pub mod exit;
pub mod explain;
pub mod export;
#[cfg(test)]
pub mod fuzz;
pub mod golang;
pub mod governor;
pub mod history;
pub mod host;
pub mod keeper;
pub mod kubernetes;
pub mod otlp;
pub mod outgoing;
pub mod output;
pub mod page;
pub mod pipeline;
pub mod process;
pub mod profile;
pub mod recording;
pub mod relabel;
pub mod session;
pub mod spool;
pub mod symbolize;
pub mod telemetry;
pub mod unwind;
pub mod verbs;
