//! The programs, and what they are given to do.

use super::load::{AS_NOBODY, Load, prepare};
use crate::workload::free_port;
use std::fmt::Write as _;

/// Functions that call each other through the interpreter's C code: sorting with a key, regular expressions, JSON.
const PYTHON: &str = r#"
import json, re
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def deep(n): return sum(range(200)) if n == 0 else deep(n - 1)
class Point:
    def __init__(self, x): self.x = x
    def __lt__(self, other): return self.x < other.x
while True:
    fib(18)
    deep(200)
    sorted(Point(i * 7919 % 1000) for i in range(1000))
    sorted(range(3000), key=lambda i: i * 7919 % 3000)
    text = json.dumps({str(i): [i, str(i), {"a": i}] for i in range(500)})
    json.loads(text)
    re.sub(r"(\d+)", lambda found: found.group(1)[::-1], text)
    list(map(lambda pair: pair[0] + pair[1], zip(range(3000), range(3000))))
"#;

/// Debian's own interpreter, two processes.
#[must_use]
pub fn python() -> Load {
    let mut load = Load::new("python3");
    let script = load.write("work.py", PYTHON);
    load.start(&["/usr/bin/python3", &script]);
    load.start(&["/usr/bin/python3", &script]);
    load
}

const SQL: &str = include_str!("../../workloads/pgbench.sql");

/// A cluster of its own on a socket in the folder, as nobody, and pgbench.
#[must_use]
pub fn postgresql() -> Load {
    let mut load = Load::new("postgresql");
    let bin = postgresql_bin();
    let tool = |name: &str| format!("{bin}/{name}");
    let (data, socket) = (load.path("data"), load.path(""));
    let as_nobody = |words: &[&str]| prepare(&[AS_NOBODY, words].concat());
    as_nobody(&[&tool("initdb"), "--no-sync", "--username=nobody", "--locale=C", "--pgdata", &data]);
    let settings = ["-k", &socket, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "jit=off"];
    load.start(&[AS_NOBODY, &[&tool("postgres"), "-D", &data], &settings].concat());
    load.wait_for(&[&tool("pg_isready"), "-h", &socket, "-U", "nobody", "-d", "postgres"]);
    let pgbench = [&tool("pgbench"), "-h", &socket, "-U", "nobody"].map(str::to_owned);
    let pgbench: Vec<&str> = pgbench.iter().map(String::as_str).collect();
    as_nobody(&[&pgbench[..], &["--initialize", "--quiet", "--scale=5", "postgres"]].concat());
    let script = load.write("work.sql", SQL);
    let work = ["--client=2", "--time=3600", "--no-vacuum", "--builtin=tpcb-like@5", "postgres", "--file"];
    load.start(&[AS_NOBODY, &pgbench, &work, &[&format!("{script}@1")]].concat());
    load
}

/// Debian has one folder for each version.
fn postgresql_bin() -> String {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed");
    let newest = versions.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).max();
    format!("/usr/lib/postgresql/{}/bin", newest.expect("a version of postgresql"))
}

/// A server on a port of loopback, and redis-benchmark, which never ends.
#[must_use]
pub fn redis() -> Load {
    let mut load = Load::new("redis");
    let port = free_port().to_string();
    let folder = load.path("");
    // Debian's server by the name that does not make it a checker of files.
    let program = load.path("redis-server");
    std::os::unix::fs::symlink("/usr/bin/redis-check-rdb", &program).expect("a link");
    let server = [&*program, "--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir", &folder];
    load.start(&[AS_NOBODY, &server].concat());
    load.wait_for(&["redis-cli", "-p", &port, "ping"]);
    let benchmark = ["redis-benchmark", "-p", &port, "-l", "-q", "-n", "20000", "-r", "1000"];
    load.start(&[&benchmark[..], &["-t", "set,get,incr,lpush,lrange_300,sadd,zadd,mset"]].concat());
    let lua = "local t = {} for i = 1, 200 do t[#t + 1] = tostring(i) .. 'x' end return table.concat(t)";
    load.start(&[&benchmark[..], &["eval", lua, "0"]].concat());
    load
}

/// Commits of a generated repository: each changes some of its files.
fn commits(count: usize) -> String {
    let mut stream = String::new();
    for commit in 1..=count {
        let message = format!("commit {commit}\n");
        let _ =
            write!(stream, "commit refs/heads/main\ncommitter T <t@example.org> {} +0000\n", 1_000_000_000 + commit);
        let _ = write!(stream, "data {}\n{message}", message.len());
        for part in 0..6 {
            let file = (commit * 7 + part * 5) % 40;
            let lines: Vec<String> = (0..300)
                .map(|line| format!("line {line} of {file}: {:x}\n", (commit * (line % 23) + file).pow(3)))
                .collect();
            let content = lines.concat();
            let _ = write!(stream, "M 100644 inline file{file}.txt\ndata {}\n{content}\n", content.len());
        }
    }
    stream
}

/// Packs a repository and prints its history, again and again.
#[must_use]
pub fn git() -> Load {
    let mut load = Load::new("git");
    let stream = load.write("stream", &commits(150));
    let repository = load.path("repository");
    prepare(&["git", "init", "--quiet", "--initial-branch=main", &repository]);
    prepare(&["sh", "-c", &format!("git -C {repository} fast-import --quiet < {stream}")]);
    let git = format!("git -C {repository}");
    load.repeat(&format!(
        "{git} log -p --stat > /dev/null; {git} grep -n -E '[0-9a]{{3}}f' $({git} rev-list main~5..main) > /dev/null"
    ));
    load.repeat(&format!("{git} gc --quiet --aggressive --no-prune; {git} fsck --full > /dev/null 2>&1"));
    load
}

/// A generated file of C: loops, switches, structs, floating point.
fn c_source(functions: usize) -> String {
    let mut text = String::from("struct node { struct node *next; double weight; int kind; char name[32]; };\n");
    for index in 0..functions {
        let _ = write!(
            text,
            "int f{index}(struct node *node, int n, const unsigned char *bytes) {{
                int sum = {index}; double total = 0;
                for (int i = 0; i < n; i++) {{
                    for (struct node *at = node; at; at = at->next) {{
                        total += at->weight * i; sum ^= bytes[(i * {index}) % 64] << (at->kind & 3);
                    }}
                    switch (sum & 7) {{
                        case 0: sum += i; break; case 1: sum *= 3; break; case 2: sum -= n; break;
                        case 3: sum ^= bytes[i]; break; case 4: total /= 2; break; default: sum /= {index} + 1;
                    }}
                }}
                return sum + (int)total {};
            }}\n",
            if index > 0 { format!("+ f{}(node, n / 2, bytes + 1)", index - 1) } else { String::new() }
        );
    }
    text
}

/// gcc compiles a generated file, again and again, twice.
#[must_use]
pub fn cc1() -> Load {
    let mut load = Load::new("cc1");
    let source = load.write("generated.c", &c_source(300));
    load.repeat(&format!("gcc -O2 -g -c -o one.o {source}"));
    load.repeat(&format!("gcc -O2 -c -o two.o {source}"));
    load
}
