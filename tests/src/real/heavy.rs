//! Programs of the long form, and what they are given to do.

use super::load::{AS_NOBODY, Load};
use crate::workload::free_port;
use std::path::PathBuf;

/// Sorting, regular expressions, JSON and compression, in JavaScript and in C++.
const JAVASCRIPT: &str = r"
const zlib = require('zlib');
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
for (;;) {
    fib(22);
    const text = JSON.stringify(Array.from({ length: 2000 }, (_, i) => ({ key: 'k' + i, value: [i, i * 2] })));
    JSON.parse(text).sort((a, b) => a.key < b.key ? -1 : 1);
    text.replace(/(\d+)/g, found => found + 1);
    zlib.deflateSync(text);
}
";

/// Debian's Node.
#[must_use]
pub fn node() -> Load {
    let mut load = Load::new("node");
    let script = load.write("work.js", JAVASCRIPT);
    load.start(&["/usr/bin/node", &script]);
    load
}

/// Everything it writes is below its folder; pages are compressed, and taken from files or from another of its servers.
fn nginx_config(folder: &str, port: u16, behind: u16) -> String {
    format!(
        "daemon off; master_process on; worker_processes 2; pid {folder}/nginx.pid; error_log stderr;
        events {{ worker_connections 256; }}
        http {{
            access_log {folder}/access.log;
            client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
            gzip on; gzip_types *; gzip_proxied any;
            server {{
                listen 127.0.0.1:{port}; root {folder}/pages;
                location ~ ^/again/(?<page>[a-z.]+)$ {{ proxy_pass http://127.0.0.1:{behind}/$page; }}
            }}
            server {{ listen 127.0.0.1:{behind}; root {folder}/pages; }}
        }}\n"
    )
}

/// A server on a port of loopback, and ab, which asks for pages as they are, compressed, and through a second server.
///
/// # Panics
/// Where setup has not unpacked nginx into the cache.
#[must_use]
pub fn nginx() -> Load {
    let mut load = Load::new("nginx");
    let program = nginx_program();
    let program = program.to_str().expect("a path in UTF-8");
    let (port, behind) = (free_port(), free_port());
    std::fs::create_dir(load.path("pages")).expect("a folder for pages");
    let lines: Vec<String> = (0..600_u64).map(|line| format!("<p>line {line}: {:x}</p>\n", line.pow(5))).collect();
    for (name, content) in [("page.html", &*lines.concat()), ("small.html", "<p>small</p>\n")] {
        std::fs::write(load.path(&format!("pages/{name}")), content).expect("a page");
    }
    let config = load.write("nginx.conf", &nginx_config(&load.path(""), port, behind));
    let log = load.path("error.log");
    load.start(&[AS_NOBODY, &[program, "-c", &config, "-p", &load.path(""), "-e", &log]].concat());
    let page = |name: &str| format!("http://127.0.0.1:{port}/{name}");
    load.wait_for(&["ab", "-q", "-n", "1", &page("small.html")]);
    let ab = "ab -q -n 2000 -c 4";
    let gzip = "-H 'Accept-Encoding: gzip'";
    load.repeat(&format!("{ab} -k {} > ab.out; {ab} {gzip} {} > ab.out", page("small.html"), page("page.html")));
    load.repeat(&format!("{ab} {gzip} {} > ab2.out", page("again/page.html")));
    load
}

/// Unpacked by setup, as its package would start a server at boot.
fn nginx_program() -> PathBuf {
    let program = crate::pyroscope::build::cache().expect("a cache").join("nginx/usr/sbin/nginx");
    assert!(program.exists(), "no {}: run `cargo xtask setup test`", program.display());
    program
}

/// Encodes a test picture and a tone, again and again.
#[must_use]
pub fn ffmpeg() -> Load {
    let mut load = Load::new("ffmpeg");
    let sources = "-f lavfi -i testsrc=size=640x360:rate=25 -f lavfi -i sine=frequency=440";
    let codecs = "-t 20 -c:v libx264 -c:a aac -f matroska";
    load.repeat(&format!("ffmpeg -nostdin -y -loglevel error {sources} {codecs} /dev/null"));
    load
}

/// A script that never ends, and pictures in motion.
const PAGE: &str = r"<!doctype html>
<style>
    @keyframes turn { to { transform: rotate(360deg) scale(0.5); background: hsl(200 90% 50%); border-radius: 50%; } }
    div { width: 60px; height: 60px; display: inline-block; background: tomato; box-shadow: 0 0 8px black;
        animation: turn 1s linear infinite alternate; }
</style>
<body><canvas id=canvas width=400 height=300></canvas><p id=text></p><script>
    for (let i = 0; i < 60; i++) document.body.append(document.createElement('div'));
    const context = canvas.getContext('2d');
    let round = 0;
    function work() {
        const rows = Array.from({ length: 400 }, (_, i) => ({ key: 'k' + (i * 7919 % 400), value: i + round }));
        rows.sort((a, b) => a.key < b.key ? -1 : 1);
        text.innerHTML = rows.slice(0, 60).map(row => `<b>${row.key}</b> ${JSON.stringify(row)}`).join(' ');
        context.fillStyle = `hsl(${round % 360} 80% 50%)`;
        context.arc(200 + round % 50, 150, 100, 0, 6);
        context.fill();
        round++;
        setTimeout(work, 0);
    }
    work();
</script>
";

/// Without window and GPU, as root.
#[must_use]
pub fn chromium() -> Load {
    let mut load = Load::new("chromium");
    let page = format!("file://{}", load.write("page.html", PAGE));
    let data = format!("--user-data-dir={}", load.path("data"));
    let quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
    let software = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
    load.start(&[&["chromium"], &software[..], &quiet, &["--no-proxy-server", &data, &page]].concat());
    load
}

/// Sorting, regular expressions, hash tables, exceptions, recursion, and garbage.
const JAVA: &str = r#"
import java.util.*;
import java.util.regex.*;
import java.util.stream.*;
class Burn {
    static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
    static int deep(int n) { if (n == 0) throw new IllegalStateException(); return deep(n - 1) + 1; }
    public static void main(String[] words) throws Exception {
        long sum = 0;
        for (int round = 0;; round++) {
            sum += fib(22);
            Map<String, Integer> map = new HashMap<>();
            for (int i = 0; i < 3000; i++) map.merge("k" + (i * 7919 % 1000), i, Integer::sum);
            String text = map.entrySet().stream().sorted(Map.Entry.comparingByValue())
                .map(entry -> entry.getKey() + "=" + entry.getValue()).collect(Collectors.joining(","));
            sum += Pattern.compile("(\\d+)=").matcher(text).replaceAll(found -> found.group(1) + ":").length();
            try { deep(100); } catch (IllegalStateException expected) { sum++; }
            java.util.zip.CRC32 crc = new java.util.zip.CRC32();
            crc.update(text.getBytes("UTF-8"));
            sum += crc.getValue();
        }
    }
}
"#;

/// Debian's Java, told to keep frame pointers in what it compiles.
#[must_use]
pub fn openjdk() -> Load {
    let mut load = Load::new("openjdk");
    let source = load.write("Burn.java", JAVA);
    load.start(&["/usr/bin/java", "-Xmx128m", "-XX:+PreserveFramePointer", &source]);
    load
}
