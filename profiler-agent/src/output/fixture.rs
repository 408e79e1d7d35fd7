//! Profiles for tests.

use crate::profile::{FrameKind, Function, Line, Location, Mapping, Process, Profile, Sample, Service, Thread};
use std::sync::{Arc, LazyLock};

/// Names that programs may have and readers choke on.
pub(super) static HOSTILE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> = [
        "",
        " ",
        "<img src=x onerror=alert(1)>",
        "]]></script><script>alert(1)</script>",
        "a;b;c",
        "a\nb 7\nc",
        "a\0b",
        "a\rb\tc",
        "\x1b[31mred\x1b]0;title\x07",
        "\u{9b}31m\u{7f}",
        "\u{202e}txt.exe",
        "\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}\u{10ffff}",
        "operator new 12",
        "f 1 2 3.5",
        "# comment",
        "&amp;&#0;&quot;'\"",
        "-",
        "--",
        "_[k]",
        "名前🦀e\u{301}\u{301}\u{301}",
    ]
    .map(str::to_owned)
    .to_vec();
    // What is left of unpaired surrogates once they went through a lossy conversion.
    names.push(String::from_utf16_lossy(&[0x61, 0xd800, 0x62, 0xdfff]));
    names.push("x".repeat(100_000));
    names.push("語".repeat(100_000));
    names
});

pub(super) fn function(name: &str) -> Function {
    let name = Arc::from(name);
    Function { system_name: Arc::clone(&name), name, file: Arc::from("") }
}

fn location(mapping: u32, address: u64, kind: FrameKind, functions: &[u32]) -> Location {
    let lines = functions.iter().map(|&function| Line { function, line: 10 * function }).collect();
    Location { mapping, address, kind, lines }
}

/// Two services, two processes, three threads, 77 samples of 10 ms in one second.
pub(super) fn profile() -> Profile {
    let native = FrameKind::Native;
    let kernel = FrameKind::Kernel;
    let mut functions =
        ["main", "handle", "inlined", "write", "ksys_write", "worker_thread", "handle(int)"].map(function).to_vec();
    functions[1].system_name = Arc::from("_ZN3web6handleEv");
    functions[1].file = Arc::from("src/web.rs");
    Profile {
        start_unix_ns: 1_700_000_000_000_000_000,
        duration_ns: 1_000_000_000,
        period_ns: 10_000_000,
        mappings: vec![
            Mapping { path: Arc::from("/usr/bin/web"), build_id: Arc::from("0123abcd") },
            Mapping { path: Arc::from("[kernel]"), build_id: Arc::from("") },
            Mapping { path: Arc::from("/usr/lib/libc.so.6"), build_id: Arc::from("fe") },
        ],
        functions,
        locations: vec![
            location(0, 0x1000, native, &[0]),
            location(0, 0x1100, native, &[2, 1]),
            location(0, 0x1200, native, &[1]),
            location(2, 0x2000, native, &[3]),
            location(1, 0xffff_ffff_8100_0000, kernel, &[4]),
            location(1, 0xffff_ffff_8200_0000, kernel, &[5]),
            location(0, 0x1300, native, &[6]),
        ],
        stacks: vec![Box::from([1, 0]), Box::from([4, 3, 2, 0]), Box::from([5]), Box::from([0]), Box::from([6, 0])],
        processes: vec![
            Process { pid: 42, start_ns: 7, name: Arc::from("web") },
            Process { pid: 9, start_ns: 1, name: Arc::from("kworker/0:1") },
        ],
        threads: vec![
            Thread { process: 0, tid: 42, name: Arc::from("web") },
            Thread { process: 0, tid: 43, name: Arc::from("pool-1") },
            Thread { process: 1, tid: 9, name: Arc::from("kworker/0:1") },
        ],
        services: vec![
            Service {
                name: Arc::from("shop"),
                labels: vec![(Arc::from("k8s.pod.name"), Arc::from("shop-1"))],
                samples: vec![
                    Sample { stack: 0, thread: 0, count: 30 },
                    Sample { stack: 0, thread: 1, count: 15 },
                    Sample { stack: 0, thread: 1, count: 5 },
                    Sample { stack: 1, thread: 0, count: 20 },
                    Sample { stack: 3, thread: 0, count: 4 },
                    Sample { stack: 4, thread: 0, count: 2 },
                ],
            },
            Service {
                name: Arc::from("kernel"),
                labels: Vec::new(),
                samples: vec![Sample { stack: 2, thread: 2, count: 1 }],
            },
        ],
    }
}

/// Names of a profile with one stack of `function` calling `leaf`, ten samples.
pub(super) struct Named<'a> {
    pub(super) process: &'a str,
    pub(super) thread: &'a str,
    pub(super) service: &'a str,
    pub(super) function: &'a str,
    pub(super) mapping: &'a str,
}

impl Default for Named<'_> {
    fn default() -> Self {
        Self { process: "web", thread: "main", service: "shop", function: "f", mapping: "/usr/bin/web" }
    }
}

/// A profile with these names.
pub(super) fn named(names: &Named<'_>) -> Profile {
    Profile {
        start_unix_ns: 1,
        duration_ns: 100_000_000,
        period_ns: 10_000_000,
        mappings: vec![Mapping { path: Arc::from(names.mapping), build_id: Arc::from("") }],
        functions: vec![function("leaf"), function(names.function)],
        locations: vec![location(0, 0x10, FrameKind::Native, &[0]), location(0, 0x20, FrameKind::Native, &[1])],
        stacks: vec![Box::from([0, 1])],
        processes: vec![Process { pid: 1, start_ns: 0, name: Arc::from(names.process) }],
        threads: vec![Thread { process: 0, tid: 1, name: Arc::from(names.thread) }],
        services: vec![Service {
            name: Arc::from(names.service),
            labels: Vec::new(),
            samples: vec![Sample { stack: 0, thread: 0, count: 10 }],
        }],
    }
}
