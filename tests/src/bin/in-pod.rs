//! Runs a command as kubelet does in a pod, beside an API server of its own: `in-pod NODE PROGRAM [ARGUMENT]…`.
//!
//! Each line of standard input is a pod or a namespace as JSON, which is added or takes the place of the one with its uid.
//! Where the input ends the command gets SIGTERM. Its exit code is ours.

use anyhow::{Context as _, bail};
use profiler_tests::api_server::ApiServer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let (node, program) = words.next().zip(words.next()).context("usage: in-pod NODE PROGRAM [ARGUMENT]…")?;
    let node = node.into_string().ok().context("the node's name is not UTF-8")?;
    let api = Arc::new(ApiServer::start());
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    api.tell(&mut command, &node);
    let mut child = command.spawn().context("the command cannot be started")?;
    let (told, pid) = (Arc::clone(&api), Pid::from_child(&child));
    std::thread::spawn(move || {
        if let Err(error) = std::io::stdin().lines().try_for_each(|line| put(&told, &line?)) {
            eprintln!("in-pod: {error:#}");
        }
        let _ = kill_process(pid, Signal::TERM);
    });
    let code = child.wait().context("the command cannot be waited for")?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn put(api: &ApiServer, line: &str) -> anyhow::Result<()> {
    let object: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
    match object["kind"].as_str() {
        Some("Pod") => api.put_pod(object),
        Some("Namespace") => api.put_namespace(object),
        _ => bail!("neither a pod nor a namespace: {line}"),
    }
    Ok(())
}
