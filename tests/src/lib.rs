//! What the tests share: the agent as a user runs it, workloads with known truth, real servers, a real browser.

pub mod agent;
pub mod api_server;
pub mod batch;
pub mod builds;
pub mod cgroup;
pub mod chain;
pub mod cluster;
pub mod engine;
pub mod go;
pub mod hostile;
pub mod ledger;
pub mod oci;
pub mod page_api;
pub mod podman;
pub mod proxy;
pub mod pyroscope;
pub mod real;
pub mod recorded;
pub mod rows;
pub mod series;
pub mod spooling;
pub mod stacks;
pub mod stub;
pub mod webdriver;
pub mod workload;
