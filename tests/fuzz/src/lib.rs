//! The agent's stages that read foreign bytes, and the entries that fuzz them.
//!
//! Compiled from the agent's own files, not through its package: all that is linked is built with a sanitizer and
//! coverage counters, which takes minutes for a network stack that none of this needs.
#![allow(dead_code, unexpected_cfgs, unused_imports, reason = "the stages that use the rest are not here")]

pub mod aggregate;
pub mod bpf;
pub mod canary;
#[path = "../../../profiler-agent/src/config/mod.rs"]
pub mod config;
pub mod confine;
#[path = "../../../profiler-agent/src/container/mod.rs"]
pub mod container;
pub mod engines;
pub mod exit;
pub mod export;
#[path = "../../../profiler-agent/src/fuzz/mod.rs"]
pub mod fuzz;
#[path = "../../../profiler-agent/src/golang/mod.rs"]
pub mod golang;
pub mod governor;
pub mod kubernetes;
pub mod otlp;
#[path = "../../../profiler-agent/src/process/mod.rs"]
pub mod process;
#[path = "../../../profiler-agent/src/profile.rs"]
pub mod profile;
#[path = "../../../profiler-agent/src/relabel/mod.rs"]
pub mod relabel;
#[path = "../../../profiler-agent/src/spool/mod.rs"]
pub mod spool;
pub mod symbolize;
pub mod telemetry;
#[path = "../../../profiler-agent/src/unwind/mod.rs"]
pub mod unwind;
