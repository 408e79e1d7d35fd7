//! The page over made-up profiles, for work on the page itself and for its browser test: `page_demo [ADDRESS] [--empty | --large]`.
//!
//! Prints the address, serves until its standard input closes.

use profiler_agent::history::History;
use profiler_agent::page::{Access, Downloads, PageState, Title, serve};
use profiler_agent::profile::{
    FrameKind, Function, Line, Location, Mapping, Process, Profile, Sample, Service, Thread,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const WINDOW_NS: u64 = 10_000_000_000;
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// Service, process, module of its code, threads, weight, and its stacks below `main`, root first.
type Program = (&'static str, &'static str, &'static str, &'static [&'static str], u64, &'static [&'static str]);

const PROGRAMS: &[Program] = &[
    (
        "checkout",
        "checkout-api",
        "/usr/bin/checkout-api",
        &["tokio-worker-0", "tokio-worker-1", "tokio-worker-2", "flush"],
        46,
        &[
            "tokio::runtime::scheduler::multi_thread::worker::run hyper::proto::h1::dispatch::Dispatcher::poll_read_head hyper::proto::h1::role::Server::parse httparse::Request::parse",
            "tokio::runtime::scheduler::multi_thread::worker::run checkout::cart::price_all checkout::tax::Table::lookup core::slice::binary_search_by",
            "tokio::runtime::scheduler::multi_thread::worker::run checkout::cart::price_all checkout::discount::Rules::apply regex_automata::meta::Regex::find regex_automata::hybrid::dfa::DFA::next_state",
            "tokio::runtime::scheduler::multi_thread::worker::run checkout::cart::to_json serde_json::ser::Serializer::serialize_map serde_json::ser::format_escaped_str",
            "tokio::runtime::scheduler::multi_thread::worker::run checkout::store::Client::save rustls::conn::Writer::write ring::aead::aes_gcm::seal !do_syscall_64 !__x64_sys_sendto !tcp_sendmsg !tcp_write_xmit !ip_queue_xmit !dev_queue_xmit",
            "tokio::runtime::scheduler::multi_thread::worker::run tokio::runtime::io::driver::Driver::turn !do_syscall_64 !__x64_sys_epoll_wait !ep_poll !schedule",
        ],
    ),
    (
        "postgres",
        "postgres",
        "/usr/lib/postgresql/16/bin/postgres",
        &["postgres"],
        24,
        &[
            "PostmasterMain ServerLoop BackendRun PostgresMain exec_simple_query PortalRun ExecutorRun ExecScan heap_getnextslot heapgettup_pagemode HeapTupleSatisfiesVisibility",
            "PostmasterMain ServerLoop BackendRun PostgresMain exec_simple_query PortalRun ExecutorRun ExecSort tuplesort_performsort qsort_tuple comparetup_heap varstrfastcmp_locale strcoll_l",
            "PostmasterMain ServerLoop BackendRun PostgresMain exec_simple_query pg_plan_queries standard_planner subquery_planner make_one_rel set_rel_pathlist",
            "PostmasterMain ServerLoop BackendRun PostgresMain finish_xact_command CommitTransaction XLogFlush issue_xlog_fsync !do_syscall_64 !__x64_sys_fdatasync !ext4_sync_file !submit_bio_wait !io_schedule",
        ],
    ),
    (
        "image-resizer",
        "resizer",
        "/opt/resizer/bin/resizer",
        &["pool-1", "pool-2"],
        14,
        &[
            "Worker::loop cv::resize cv::hal::resize_avx2",
            "Worker::loop jpeg_read_scanlines decode_mcu_slow jpeg_idct_islow",
            "Worker::loop jpeg_write_scanlines encode_mcu_huff forward_DCT",
            "Worker::loop <img~src=x~onerror=alert(1)> std::_Rb_tree<std::string,~std::pair<std::string~const,~std::vector<std::shared_ptr<resizer::Tile>>>>::_M_get_insert_unique_pos",
        ],
    ),
    (
        "kernel",
        "kworker/u8:3",
        "[kernel]",
        &["kworker/u8:3", "ksoftirqd/1"],
        6,
        &[
            "!kthread !worker_thread !process_one_work !wb_workfn !ext4_writepages !mpage_submit_folio",
            "!kthread !smpboot_thread_fn !run_ksoftirqd !net_rx_action !virtnet_poll !napi_gro_receive",
        ],
    ),
    (
        "sshd",
        "sshd",
        "/usr/sbin/sshd",
        &["sshd"],
        3,
        &["sshd_main do_authenticated server_loop2 chacha20_encrypt_bytes"],
    ),
    (
        "<script>alert(2)</script>",
        "\"><svg onload=alert(3)>",
        "/tmp/<b>evil</b>.so",
        &["<u>thread</u>"],
        2,
        &["<img~src=x~onerror=alert(1)> javascript:alert(4)"],
    ),
];

#[derive(Default)]
struct Window {
    profile: Profile,
    functions: HashMap<(String, String), u32>,
    mappings: HashMap<String, u32>,
    stacks: HashMap<Vec<u32>, u32>,
}

impl Window {
    fn at(start_unix_ns: u64) -> Self {
        let profile = Profile { start_unix_ns, duration_ns: WINDOW_NS, period_ns: 10_101_010, ..Profile::default() };
        Self { profile, ..Self::default() }
    }

    fn mapping(&mut self, path: &str) -> u32 {
        let profile = &mut self.profile;
        *self.mappings.entry(path.into()).or_insert_with(|| {
            profile.mappings.push(Mapping { path: path.into(), build_id: "".into() });
            profile.mappings.len() as u32 - 1
        })
    }

    fn location(&mut self, name: &str, module: &str) -> u32 {
        let (module, kind, name) = match name.strip_prefix('!') {
            Some(name) => ("[kernel]", FrameKind::Kernel, name),
            None => (module, FrameKind::Native, name),
        };
        let mapping = self.mapping(module);
        let profile = &mut self.profile;
        *self.functions.entry((name.into(), module.into())).or_insert_with(|| {
            let id = profile.functions.len() as u32;
            let name: Arc<str> = name.replace('~', " ").into();
            profile.functions.push(Function { name: Arc::clone(&name), system_name: name, file: "".into() });
            let lines = Box::new([Line { function: id, line: 0 }]);
            profile.locations.push(Location { mapping, address: 0x1000 + u64::from(id), kind, lines });
            id
        })
    }

    fn stack(&mut self, frames: &[(String, String)]) -> u32 {
        let locations: Vec<u32> = frames.iter().rev().map(|(name, module)| self.location(name, module)).collect();
        let profile = &mut self.profile;
        *self.stacks.entry(locations).or_insert_with_key(|locations| {
            profile.stacks.push(locations.clone().into());
            profile.stacks.len() as u32 - 1
        })
    }
}

fn module_of(name: &str, program: &str) -> String {
    let library = [
        ("jpeg", "libjpeg.so.62"),
        ("cv::", "libopencv_imgproc.so"),
        ("strcoll", "libc.so.6"),
        ("_DCT", "libjpeg.so.62"),
    ];
    match library.iter().find(|(part, _)| name.contains(part)) {
        Some((_, file)) => format!("/usr/lib/x86_64-linux-gnu/{file}"),
        None => program.into(),
    }
}

/// A stack of the template, cut anywhere, with a made-up tail as real programs have.
fn frames(rng: &mut StdRng, program: &str, template: &str) -> Vec<(String, String)> {
    let names: Vec<&str> = template.split(' ').collect();
    let kept = if rng.random_ratio(1, 3) { rng.random_range(1..=names.len()) } else { names.len() };
    let start = if names[0].starts_with('!') { vec![] } else { vec!["_start", "main"] };
    let mut frames: Vec<(String, String)> =
        start.iter().chain(&names[..kept]).map(|name| (name.to_string(), module_of(name, program))).collect();
    if program.contains("checkout") && rng.random_ratio(1, 2) {
        for depth in 0..rng.random_range(3..28u32) {
            frames.push((format!("checkout::generated::step_{depth}::{}", rng.random_range(0..3u32)), program.into()));
        }
    }
    if kept == names.len() && rng.random_ratio(1, 8) {
        frames.push((
            format!("{}+0x{:x}", "libc.so.6", 0x2_0000 + 16 * rng.random_range(0..90u32)),
            "/usr/lib/x86_64-linux-gnu/libc.so.6".into(),
        ));
    }
    frames
}

fn window(rng: &mut StdRng, start_unix_ns: u64, load: f64) -> Profile {
    let mut window = Window::at(start_unix_ns);
    for (number, &(service, name, module, threads, weight, templates)) in PROGRAMS.iter().enumerate() {
        let mut samples = Vec::new();
        for copy in 0..(if service == "postgres" { 6 } else { 1 }) {
            let process = window.profile.processes.len() as u32;
            let pid = 1200 + 211 * number as u32 + copy;
            window.profile.processes.push(Process { pid, start_ns: u64::from(pid), name: name.into() });
            let first = window.profile.threads.len() as u32;
            for (offset, thread) in threads.iter().enumerate() {
                let tid = pid + offset as u32;
                window.profile.threads.push(Thread { process, tid, name: (*thread).into() });
            }
            let share = if copy == 0 { 1.0 } else { 0.3 };
            for _ in 0..((weight as f64 * load * share * rng.random_range(0.7..1.3)) as u64).max(1) {
                let template = rng.random_range(0..templates.len()).min(rng.random_range(0..templates.len()));
                let stack = window.stack(&frames(rng, module, templates[template]));
                let thread = first + rng.random_range(0..threads.len() as u32);
                samples.push(Sample { stack, thread, count: rng.random_range(1..12) });
            }
        }
        let labels = vec![("container.runtime".into(), "containerd".into()), ("host.name".into(), "demo".into())];
        window.profile.services.push(Service { name: service.into(), labels, samples });
    }
    window.profile
}

fn fill(history: &History, now_unix_ns: u64) {
    let mut rng = StdRng::seed_from_u64(7);
    let windows = 240;
    for number in 0..windows {
        let phase = number as f64 / 19.0;
        let burst = if (150..172).contains(&number) { 2.4 } else { 1.0 };
        let load = (1.4 + phase.sin() * 0.7 + (phase * 3.7).sin() * 0.3) * burst;
        let start = now_unix_ns - (windows - number) * WINDOW_NS - 3_000_000_000;
        if let Err(error) = history.add(&window(&mut rng, start, load)) {
            eprintln!("{error}");
        }
    }
}

/// One window with some 20,000 frames wide enough to be shown, 60 deep.
fn large(rng: &mut StdRng, start_unix_ns: u64) -> Profile {
    let mut window = Window::at(start_unix_ns);
    window.profile.processes.push(Process { pid: 1, start_ns: 1, name: "large".into() });
    window.profile.threads.push(Thread { process: 0, tid: 1, name: "large".into() });
    let mut samples = Vec::new();
    for _ in 0..900 {
        let path = rng.random_range(0..900u32);
        let frame =
            |depth: u32| format!("level_{depth}::branch_{}", if depth < 20 { path >> (10 - depth / 2) } else { path });
        let frames: Vec<_> = (0..60).map(|depth| (frame(depth), "/usr/bin/large".into())).collect();
        samples.push(Sample { stack: window.stack(&frames), thread: 0, count: 1 });
    }
    window.profile.services.push(Service { name: "large".into(), labels: vec![], samples });
    window.profile
}

fn collapsed(profiles: &mut dyn Iterator<Item = Profile>) -> Vec<u8> {
    profiles.map(|profile| format!("{HOSTILE} {}\n", profile.sample_count())).collect::<String>().into_bytes()
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let now_unix_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let history = Arc::new(History::default());
    match arguments.iter().find(|argument| argument.starts_with("--")).map(String::as_str) {
        Some("--empty") => {}
        Some("--large") => {
            history.add(&large(&mut StdRng::seed_from_u64(7), now_unix_ns - 2 * WINDOW_NS))?;
        }
        _ => fill(&history, now_unix_ns),
    }
    let title = Title {
        host: "web-01.example".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        frequency_hz: 99,
        interval_ms: 10_000,
        started_unix_ms: now_unix_ns / 1_000_000,
        cpus: 8,
    };
    let downloads = Downloads {
        pprof: Box::new(|profiles, _| Ok(collapsed(profiles))),
        folded: Box::new(|profiles, _| Ok(collapsed(profiles))),
    };
    let state = PageState::new(
        history,
        Arc::default(),
        Arc::default(),
        Box::new(|| Ok(())),
        downloads,
        title,
        Access::default(),
    );
    let address = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("127.0.0.1:0", |found| found);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("http://{}/", listener.local_addr()?);
        let closed = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        serve(listener, Arc::new(state), async {
            let _ = closed.await;
        })
        .await?;
        Ok(())
    })
}
